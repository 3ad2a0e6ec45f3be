//! Everything about the picture, from outside the crate: drawn, photographed, damaged, printed.

mod camera;
mod drawing;
mod hostile;
mod photographs;
mod printing;
