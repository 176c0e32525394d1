"""Make golden/images: photographs, and what Transformers' image processors make of them with Pillow.

    pip install -r requirements.txt
    pip download --no-deps scikit-image==0.26.0 matplotlib==3.11.2   # the photographs; unpack both wheels below SOURCES
    python make_images.py SOURCES

Versions: Pillow 13.0.0 (libjpeg-turbo 3.2.0), Transformers 5.24.0, its Pillow backend (`backend="pil"`). Written next to this
script, in images/:

  hopper.jpg        Grace Hopper: matplotlib's sample_data/grace_hopper.jpg, as it is
  astronaut.png     Eileen Collins: a part of scikit-image's data/astronaut.png
  camera.png        a part of scikit-image's data/camera.png, grey
  alpha.png, palette.png, tiny.png, grey-alpha.png   made of those
  jpeg-*.jpg        the kinds of JPEG, made of hopper.jpg
  *.parquet         rows of them as the `datasets` library writes them (its layout, written by pyarrow), or nearly so
  cases.json        NAME, picture, model channels, the files of the model's folder, and what Transformers saves of them
  golden.safetensors   NAME: u8, what comes out before it is rescaled and normalised; every so manieth number of it
                       NAME.f32: the numbers as they come out, every so manieth
                       decoded.FILE: u8, height x width x channels as Pillow decodes it (of hopper.jpg every 61st number)

Sources and licences are in images/SOURCES.md.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save_file
from transformers import AutoImageProcessor

HERE = Path(__file__).resolve().parent / "images"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# Numbers that are kept of an output, and of it as f32.
MOST, MOST_FLOATS = 5000, 150
# Of hopper.jpg every so manieth number is kept.
HOPPER = 61


def pictures(sources):
    shutil.copy(sources / "matplotlib/mpl-data/sample_data/grace_hopper.jpg", HERE / "hopper.jpg")
    hopper = Image.open(HERE / "hopper.jpg")
    astronaut = Image.open(sources / "skimage/data/astronaut.png").convert("RGB").crop((120, 0, 303, 203))
    camera = Image.open(sources / "skimage/data/camera.png").crop((180, 60, 331, 180))
    clean = lambda image: Image.fromarray(np.asarray(image))
    clean(astronaut).save(HERE / "astronaut.png", optimize=True)
    clean(camera).save(HERE / "camera.png", optimize=True)
    part = clean(astronaut.crop((60, 40, 141, 137)))
    rows, columns = np.mgrid[0:97, 0:81]
    opacity = np.clip((rows * 7 + columns * 5) % 400 - 60, 0, 255).astype(np.uint8)
    alpha = part.copy()
    alpha.putalpha(Image.fromarray(opacity))
    alpha.save(HERE / "alpha.png", optimize=True)
    palette = part.quantize(16)
    palette.save(HERE / "palette.png", transparency=3, bits=4)
    clean(camera.crop((0, 0, 23, 31))).save(HERE / "tiny.png")
    grey_alpha = clean(camera.crop((40, 10, 91, 71)))
    grey_alpha.putalpha(Image.fromarray(opacity[:61, :51]))
    grey_alpha.save(HERE / "grey-alpha.png")
    face = clean(hopper.crop((205, 85, 256, 126)))
    for name, options in {
        "444": {"subsampling": "4:4:4", "quality": 70},
        "422": {"subsampling": "4:2:2", "quality": 85},
        "420": {"subsampling": "4:2:0", "quality": 90, "optimize": True},
        "progressive": {"subsampling": "4:2:0", "quality": 85, "progressive": True},
        "progressive-444": {"subsampling": "4:4:4", "quality": 50, "progressive": True},
        "restart": {"subsampling": "4:2:0", "quality": 60, "restart_marker_blocks": 3},
    }.items():
        face.save(HERE / f"jpeg-{name}.jpg", **options)
    face.convert("L").save(HERE / "jpeg-grey.jpg", quality=80)
    face.convert("CMYK").save(HERE / "jpeg-cmyk.jpg", quality=80)
    turned = Image.Exif()
    turned[0x0112] = 6
    face.crop((0, 0, 33, 17)).save(HERE / "jpeg-turned.jpg", quality=75, exif=turned)


def tables():
    """Row N is the N-th of these files, with its label."""
    files = ["tiny.png", "jpeg-grey.jpg", "tiny.png", "jpeg-444.jpg", "jpeg-turned.jpg", "tiny.png", "jpeg-grey.jpg"]
    labels = [2, 0, 1, 2, -1, 0, 0]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": (HERE / file).read_bytes(), "path": file} for file in files]
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}}

    def write(name, rows, labels, features=None, columns=("image", "label"), label=pa.int64(), **how):
        schema = pa.schema([(columns[0], image), (columns[1], label)])
        if features:
            schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        table = pa.table([pa.array(rows, image), pa.array(labels, label)], schema=schema)
        pq.write_table(table, HERE / f"{name}.parquet", row_group_size=3, data_page_size=1024, **how)

    write("datasets", rows, labels, features)
    write("zstd", rows, labels, {"img": features["image"], "fine": features["label"]}, ("img", "fine"), compression="zstd",
          use_dictionary=False, data_page_version="2.0")
    write("plain", rows, [None if label == -1 else label for label in labels], label=pa.int32(), compression="none")
    write("bad-label", rows[:3], [0, 1, 3], features)
    write("bad-picture", rows[:2] + [{"bytes": None, "path": "elsewhere.png"}], labels[:3], features)
    write("bad-type", rows[:1], [0.0], label=pa.float64())
    write("bad-columns", rows[:1], labels[:1], columns=("photo", "label"))


def processor(kind, **keys):
    return {"preprocessor_config.json": {"image_processor_type": kind, **keys}}


def cases():
    vit, deit, clip = "ViTImageProcessor", "DeiTImageProcessor", "CLIPImageProcessor"
    siglip, bit = "SiglipImageProcessor", "BitImageProcessor"
    size = lambda height, width: {"height": height, "width": width}
    for kind in [vit, deit, clip, siglip, bit]:
        for picture in ["hopper.jpg", "astronaut.png"]:
            yield f"{kind}-{picture}", picture, 3, processor(kind)
    filters = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
    for number, name in enumerate(filters):
        yield f"smaller-{name}", "astronaut.png", 3, processor(vit, size=size(53, 37), resample=number)
        yield f"larger-{name}", "tiny.png", 3, processor(vit, size=size(45, 61), resample=number)
        yield f"mixed-{name}", "camera.png", 1, processor(vit, size=size(131, 60), resample=number, image_mean=[0.3], image_std=[0.4])
    yield "shortest-portrait", "hopper.jpg", 3, processor(clip, size={"shortest_edge": 50}, crop_size=size(48, 48))
    yield "shortest-landscape", "camera.png", 3, processor(clip, size={"shortest_edge": 50}, crop_size=size(47, 49))
    yield "shortest-as-number", "astronaut.png", 3, processor(clip, size=51, crop_size=42)
    yield "crop-larger", "astronaut.png", 3, processor(bit, size={"shortest_edge": 31}, crop_size=size(53, 48))
    yield "crop-larger-odd", "camera.png", 3, processor(bit, size={"shortest_edge": 30}, crop_size=size(51, 37), **IMAGENET)
    yield "crop-alone", "tiny.png", 3, processor(vit, do_resize=False, do_center_crop=True, crop_size=size(20, 40))
    yield "deit-small", "hopper.jpg", 3, processor(deit, size=52, crop_size=45, **IMAGENET)
    yield "dinov2", "astronaut.png", 3, processor(bit, size={"shortest_edge": 60}, crop_size=size(52, 52), **IMAGENET)
    yield "siglip-grey", "camera.png", 3, processor(siglip, size=size(47, 31))
    yield "white-alpha", "alpha.png", 3, processor(siglip, size=size(48, 40))
    yield "white-palette", "palette.png", 3, processor(clip, size={"shortest_edge": 40}, crop_size=40)
    yield "white-grey-alpha", "grey-alpha.png", 3, processor(bit, size={"shortest_edge": 40}, crop_size=39)
    yield "alpha-dropped", "alpha.png", 3, processor(vit, size=size(48, 40))
    yield "palette-dropped", "palette.png", 3, processor(vit, size=40)
    yield "as-it-is", "alpha.png", 3, processor(siglip, size=size(97, 81))
    yield "grey-model", "camera.png", 1, processor(vit, size=28, image_mean=[0.2860], image_std=[0.3530])
    yield "grey-model-of-colours", "astronaut.png", 1, processor(vit, size=28, image_mean=[0.2860], image_std=[0.3530])
    yield "size-listed", "astronaut.png", 3, processor(vit, size=[33, 47], image_mean=0.4, image_std=0.3)
    yield "not-normalised", "camera.png", 3, processor(siglip, size=30, default_to_square=True, do_normalize=False)
    yield "not-rescaled", "camera.png", 3, processor(vit, size=30, do_rescale=False, image_mean=[100, 110, 120], image_std=[50, 60, 70])
    yield "other-scale", "camera.png", 3, processor(vit, size=30, rescale_factor=1 / 127.5, image_mean=[1, 1, 1], image_std=[1, 1, 1])
    nulls = {"size": None, "resample": None, "do_resize": None, "image_mean": None, "do_normalize": None, "rescale_factor": None}
    yield "nulls", "camera.png", 3, processor(deit, crop_size=33, do_rescale=None, **nulls)
    swin = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "resample": 3, "size": 40}
    yield "old-swin", "astronaut.png", 3, {"preprocessor_config.json": {**swin, **IMAGENET}}
    fast = processor("ViTImageProcessorFast", size=size(24, 24), do_convert_rgb=None, crop_size=None, data_format="channels_first")
    yield "fast", "camera.png", 3, fast
    untyped = {"size": {"shortest_edge": 40}, "crop_size": 36}
    yield "by-model", "astronaut.png", 3, {"preprocessor_config.json": untyped, "config.json": {"model_type": "dinov2"}}
    nested = {"image_processor": {"image_processor_type": clip, "size": {"shortest_edge": 36}, "crop_size": 33}}
    yield "nested", "astronaut.png", 3, {"processor_config.json": nested, **processor(vit, size=8)}


def load(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_text(json.dumps(content))
        return AutoImageProcessor.from_pretrained(folder, backend="pil")


def stride(size, most):
    """Odd, so that no column is left out."""
    return 1 if size <= most else -(-size // most) | 1


def thinned(numbers, stride):
    return np.ascontiguousarray(numbers.reshape(-1)[::stride])


def main(sources):
    HERE.mkdir(exist_ok=True)
    for path in HERE.iterdir():
        if path.name != "SOURCES.md":
            path.unlink()
    pictures(sources)
    tables()
    golden, listed = {}, []
    for path in sorted(HERE.iterdir()):
        if path.name.startswith("jpeg-") or path.name in ["palette.png", "grey-alpha.png"]:
            image = Image.open(path)
            mode = "RGBA" if "transparency" in image.info else "RGB" if image.mode == "CMYK" else image.mode
            golden[f"decoded.{path.name}"] = np.asarray(image.convert(mode))
    golden["decoded.hopper.jpg"] = thinned(np.asarray(Image.open(HERE / "hopper.jpg")), HOPPER)
    for name, picture, channels, files in cases():
        made = load(files)
        image = Image.open(HERE / picture)
        # What whoever has such a model must do, as these classes do not.
        if not made.do_convert_rgb:
            image = image.convert("RGB" if channels == 3 else "L")
        out = made(image, return_tensors="np")["pixel_values"][0]
        before = made(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
        assert before.dtype == np.uint8 and out.dtype == np.float32 or not made.do_normalize, name
        strides = stride(out.size, MOST), stride(out.size, MOST_FLOATS)
        golden[name] = thinned(before, strides[0])
        golden[f"{name}.f32"] = thinned(out.astype(np.float32), strides[1])
        listed.append({"name": name, "picture": picture, "channels": channels, "files": files, "shape": list(out.shape),
                       "stride": strides[0], "float_stride": strides[1], "saved": made.to_dict()})
    save_file(golden, HERE / "golden.safetensors")
    (HERE / "cases.json").write_text("[\n" + ",\n".join(map(json.dumps, listed)) + "\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
