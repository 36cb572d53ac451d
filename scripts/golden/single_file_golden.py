"""
Makes fixtures/single-file/fp8.f32, the values of all 256 bytes as float8_e4m3fn and then as float8_e5m2, and names.tsv.gz: which tensors of a single file in the original layout hold which parameters of diffusers' networks.

The original names are written here by the layout of Stability's generative-models; diffusers' own conversion (single_file_utils.py) then reads
files with them, and must give just the parameters of its networks, the values of each where they belong. Columns: model, folder, name in the file,
diffusers' parameter, how it lies there ("same", "conv": with two axes of 1 more, "rows I": the I-th third of the rows, "transposed"), the parameter's shape.
Run with the packages of requirements.txt: python scripts/golden/single_file_golden.py
"""

import gzip
import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as reader
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "single-file" / "names.tsv.gz"
# Name in the file, parameter, how it lies there, the parameter's shape.
Row = tuple[str, str, str, str]
SDXL = {
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816, "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True,
}  # fmt: skip
NO_MIDDLE = {**SDXL, "mid_block_type": "UNetMidBlock2D"}
# segmind/SSD-1B and segmind/Segmind-Vega: other depths, a middle of one ResNet block.
SSD_1B = {**NO_MIDDLE, "transformer_layers_per_block": [1, [2, 2], [4, 4]], "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1]}
VEGA = {**NO_MIDDLE, "transformer_layers_per_block": [1, 1, 2]}
# stabilityai/stable-diffusion-xl-refiner-1.0
REFINER = {
    **SDXL, "attention_head_dim": [6, 12, 24, 24], "block_out_channels": [384, 768, 1536, 1536], "cross_attention_dim": 1280,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], "projection_class_embeddings_input_dim": 2560,
    "transformer_layers_per_block": 4, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip


def replaced(name: str, pairs: dict[str, str]) -> str:
    for ours, original in pairs.items():
        if name.startswith(ours):
            return original + name[len(ours) :]
    return name


RESNET = {
    "norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "time_emb_proj.": "emb_layers.1.", "norm2.": "out_layers.0.", "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}  # fmt: skip
TOP = {
    "time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.", "conv_in.": "input_blocks.0.0.", "conv_norm_out.": "out.0.", "conv_out.": "out.2.",
}  # fmt: skip


def unet_name(name: str, has_attention: set[tuple[int, int]]) -> str:
    found = re.match(r"(down|mid|up)_blocks?\.(?:(\d)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name)
    if not found:
        return replaced(name, TOP)
    way, level, kind, layer, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    inner = replaced(rest, RESNET) if kind == "resnets" else rest
    if way == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{inner}"
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.{inner.replace('conv.', 'op.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if (level, 2) in has_attention else 1}.{inner}"
    block = f"input_blocks.{1 + 3 * level + layer}" if way == "down" else f"output_blocks.{3 * level + layer}"
    return f"{block}.{1 if kind == 'attentions' else 0}.{inner}"


def unet_rows(unet: UNet2DConditionModel) -> list[Row]:
    state = unet.state_dict()
    attentions = {(int(level), int(layer)) for level, layer in re.findall(r"up_blocks\.(\d)\.attentions\.(\d)", "\n".join(state))}
    names = {name: f"model.diffusion_model.{unet_name(name, attentions)}" for name in state}
    read = reader.convert_ldm_unet_checkpoint({names[name]: value for name, value in state.items()}, dict(unet.config))
    assert read.keys() == state.keys() and all(read[name] is state[name] for name in state)
    return [(names[name], name, "same", shape(value)) for name, value in state.items()]


def vae_name(name: str, levels: int) -> str:
    inner = name.replace("conv_shortcut", "nin_shortcut")
    inner = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", inner)
    inner = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", inner)
    inner = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{levels - 1 - int(found[1])}.block.", inner)
    inner = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda found: f"up.{levels - 1 - int(found[1])}.upsample.", inner)
    inner = re.sub(r"mid_block\.resnets\.(\d)\.", lambda found: f"mid.block_{int(found[1]) + 1}.", inner)
    for ours, original in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
        inner = inner.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{original}.")
    return inner.replace("conv_norm_out", "norm_out")


def vae_rows(vae: AutoencoderKL) -> list[Row]:
    state = vae.state_dict()
    names = {name: f"first_stage_model.{vae_name(name, len(vae.config.block_out_channels))}" for name in state}
    how = {name: "conv" if ".attentions." in name and value.dim() == 2 else "same" for name, value in state.items()}
    file = {names[name]: value[:, :, None, None] if how[name] == "conv" else value for name, value in state.items()}
    read = reader.convert_ldm_vae_checkpoint(file, dict(vae.config))
    assert read.keys() == state.keys() and all(equal(read[name], state[name]) for name in state)
    return [(names[name], name, how[name], shape(value)) for name, value in state.items()]


def shape(value: torch.Tensor) -> str:
    return "x".join(map(str, value.shape))


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and (a.is_meta or torch.equal(a, b))


LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def clip_g_rows(model: CLIPTextModelWithProjection, prefix: str = "conditioner.embedders.1.model.") -> list[Row]:
    state = model.state_dict()
    rows, file = [], {}
    for name, value in state.items():
        layer, how = re.match(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name), "same"
        if layer and re.match(r"self_attn\.[qkv]_proj", layer[2]):
            original = f"transformer.resblocks.{layer[1]}.attn.in_proj_{layer[3]}"
            third = "qkv".index(layer[2][10])
            parts = [state[name.replace(layer[2], f"self_attn.{part}_proj")] for part in "qkv"]
            file[prefix + original], how = torch.cat(parts), f"rows {third}"
        elif layer:
            original = f"transformer.resblocks.{layer[1]}.{LAYER[layer[2]]}.{layer[3]}"
        elif name == "text_projection.weight":
            original, how = "text_projection", "transposed"
            file[prefix + original] = value.T
        else:
            original = {
                "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
                "text_model.embeddings.position_embedding.weight": "positional_embedding",
            }.get(name, name.replace("text_model.final_layer_norm", "ln_final"))  # fmt: skip
        file.setdefault(prefix + original, value)
        rows.append((prefix + original, name, how, shape(value)))
    read = reader.convert_open_clip_checkpoint(model, file, prefix)
    assert read.keys() == state.keys() and all(equal(read[name], state[name]) for name in state)
    return rows


def clip_l_rows(model: CLIPTextModel) -> list[Row]:
    prefix = "conditioner.embedders.0.transformer."
    # Of the files: transformers before 5.
    state = {name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in model.state_dict().items()}
    file = {prefix + name: value for name, value in state.items()}
    assert reader.convert_ldm_clip_checkpoint(file).keys() == state.keys()
    return [(prefix + name, name, "same", shape(value)) for name, value in state.items()]


def main() -> None:
    lines = []
    demo = ROOT / "models" / "demo"
    networks: dict[str, dict[str, list[Row]]] = {}
    with torch.device("meta"):
        vae = {"block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
               "layers_per_block": 2, "latent_channels": 4}  # fmt: skip
        large = CLIPTextConfig(hidden_size=1280, intermediate_size=5120, num_attention_heads=20, num_hidden_layers=32, projection_dim=1280)
        small = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768)
        networks["sdxl"] = {
            "unet": unet_rows(UNet2DConditionModel(**SDXL)),
            "vae": vae_rows(AutoencoderKL(**vae)),
            "text_encoder": clip_l_rows(CLIPTextModel(small)),
            "text_encoder_2": clip_g_rows(CLIPTextModelWithProjection(large)),
        }
        networks["ssd-1b"] = {"unet": unet_rows(UNet2DConditionModel(**SSD_1B))}
        networks["vega"] = {"unet": unet_rows(UNet2DConditionModel(**VEGA))}
        networks["refiner"] = {
            "unet": unet_rows(UNet2DConditionModel(**REFINER)),
            "text_encoder_2": clip_g_rows(CLIPTextModelWithProjection(large), "conditioner.embedders.0.model."),
        }
    networks["demo"] = {
        "unet": unet_rows(UNet2DConditionModel.from_pretrained(demo / "unet", variant="fp16")),
        "vae": vae_rows(AutoencoderKL.from_pretrained(demo / "vae", variant="fp16")),
        "text_encoder": clip_l_rows(CLIPTextModel.from_pretrained(demo / "text_encoder", variant="fp16")),
        "text_encoder_2": clip_g_rows(CLIPTextModelWithProjection.from_pretrained(demo / "text_encoder_2", variant="fp16")),
    }
    for model, folders in networks.items():
        for folder, rows in folders.items():
            print(f"{model} {folder}: {len(rows)} parameters")
            lines += ["\t".join((model, folder, *row)) for row in sorted(rows)]
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    every = torch.arange(256, dtype=torch.uint8)
    values = [every.view(dtype).to(torch.float32).numpy() for dtype in (torch.float8_e4m3fn, torch.float8_e5m2)]
    FIXTURE.with_name("fp8.f32").write_bytes(b"".join(value.tobytes() for value in values))
    FIXTURE.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    print(json.dumps({"bytes": FIXTURE.stat().st_size}))


if __name__ == "__main__":
    main()
