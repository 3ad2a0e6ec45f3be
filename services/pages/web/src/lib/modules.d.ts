/** A WebAssembly file: its path relative to the built script. */
declare module "*.wasm" {
  const path: string;
  export default path;
}
