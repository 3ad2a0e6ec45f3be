# Kiosks.
