#!/usr/bin/env python3
"""Reads our pictures with third-party programs.

usage: outsiders.py TOKEN.txt FILE...       (.png, .jpg, .svg, .pdf)

Each FILE must contain exactly the text of TOKEN.txt and no other bar code, according to Debian's `zbarimg` and for
PyPI's `zxing-cpp`. PDF pages are rendered at 150 dpi by poppler's `pdftoppm`, SVG by librsvg's
`rsvg-convert`. Exit code 0 if all agree, 1 if one differs, 2 if a program is missing.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile


def rendered(path, folder):
    """Returns the raster image of a file."""
    if path.suffix == ".pdf":
        subprocess.run(["pdftoppm", "-r", "150", "-png", "-singlefile", path, folder / path.stem], check=True)
        return folder / f"{path.stem}.png"
    if path.suffix == ".svg":
        image = folder / f"{path.stem}-svg.png"
        subprocess.run(["rsvg-convert", "-o", image, path], check=True)
        return image
    return path


def by_zbar(image):
    run = subprocess.run(["zbarimg", "--quiet", "--raw", image], capture_output=True, check=False)
    return run.stdout.decode().splitlines()


def by_zxing(image):
    import zxingcpp
    from PIL import Image

    return [found.text for found in zxingcpp.read_barcodes(Image.open(image).convert("L"))]


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    for program in ("zbarimg", "pdftoppm", "rsvg-convert"):
        if shutil.which(program) is None:
            print(f"{program} is missing: apt-get install zbar-tools poppler-utils librsvg2-bin", file=sys.stderr)
            return 2
    try:
        import zxingcpp  # noqa: F401
        from PIL import Image  # noqa: F401
    except ImportError as missing:
        print(f"{missing}: pip install zxing-cpp pillow", file=sys.stderr)
        return 2
    expected = pathlib.Path(sys.argv[1]).read_text(encoding="ascii").rstrip("\n")
    differs = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[2:]:
            image = rendered(pathlib.Path(name), pathlib.Path(folder))
            for reader, read in (("zbarimg", by_zbar), ("zxing-cpp", by_zxing)):
                texts = read(image)
                agrees = texts == [expected]
                differs += not agrees
                print(f"{'ok      ' if agrees else 'DIFFERS '} {reader:10} {name}" + ("" if agrees else f"  {len(texts)} read"))
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
