"""Writes fixtures/adapters: a small file of each kind of adapter, and what LyCORIS or peft make of the layers' weights.

Run with what requirements.txt pins (lycoris-lora and peft, --no-deps): python scripts/golden/adapter_golden.py
W' - W is what the library's own module gives for a drawn layer, in fp32. LoHa and LoKr: LyCORIS's forward, which
takes get_weight once (its get_diff_weight scales twice).
"""
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

logging.disable(logging.WARNING)
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model, get_peft_model_state_dict

OUT = Path(__file__).parents[2] / "fixtures" / "adapters"
OUT.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)
torch.manual_seed(15)


class Block(nn.Module):
    """Layers of every shape, by names as the UNet's."""

    def __init__(self):
        super().__init__()
        self.attn1 = nn.ModuleDict({"to_q": nn.Linear(12, 16, bias=False), "to_k": nn.Linear(12, 12, bias=False)})
        self.proj_in = nn.Linear(12, 16)
        self.conv1 = nn.Conv2d(6, 16, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(6, 16, 1)
        self.norm1 = nn.GroupNorm(4, 16)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.mid_block = Block()

    def forward(self, x):
        return x


model = Model()
for parameter in model.parameters():
    nn.init.normal_(parameter, std=0.3)
weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
MODULES = {name: module for name, module in model.named_modules() if hasattr(module, "weight")}
LINEAR = ["mid_block.attn1.to_q", "mid_block.attn1.to_k", "mid_block.proj_in"]
CONV = ["mid_block.conv1", "mid_block.conv_shortcut"]
golden = {f"model/{name}": tensor for name, tensor in weights.items()}


def difference(case, name, weight, bias=None):
    golden[f"{case}/{name}.weight"] = weight.detach().float().contiguous()
    if bias is not None:
        golden[f"{case}/{name}.bias"] = bias.detach().float().contiguous()


def draw(module, std=0.3):
    for key, parameter in module.named_parameters():
        if "dora_scale" in key:
            parameter.data.mul_(1 + 0.3 * torch.randn_like(parameter))
        elif "rescale" in key:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        else:
            nn.init.normal_(parameter, std=std)


def lycoris(case, kind, names, merged, dtype=torch.float32, **options):
    stored = {}
    for name in names:
        root = "lora_unet_" + name.replace(".", "_")
        module = kind(root, MODULES[name], **options)
        draw(module)
        state = module.custom_state_dict() if hasattr(module, "custom_state_dict") and kind is not FullModule else None
        if kind is FullModule:
            state = {"diff": module.weight, **({} if module.bias is None else {"diff_b": module.bias})}
        if state is None:
            state = {key: value for key, value in module.state_dict().items()}
        rounded = {key: value.detach().clone().to(dtype) for key, value in state.items()}
        if dtype != torch.float32:
            for key, parameter in module.named_parameters():
                parameter.data.copy_(parameter.data.to(dtype).float())
        stored.update({f"{root}.{key}": value.contiguous() for key, value in rounded.items()})
        with torch.no_grad():
            difference(case, name, *merged(module, MODULES[name]))
    save_file(stored, OUT / f"{case}.safetensors")


def plain(module, _):
    return module.get_diff_weight()


def directed(module, layer):
    return (module.get_merged_weight()[0] - layer.weight,)


def by_forward(module, layer):
    change = module.get_weight(layer.weight.shape) * module.scalar
    return (module.apply_weight_decompose(layer.weight + change, 1) - layer.weight if module.wd else change,)


def full(module, _):
    return module.weight, module.bias


ALL = LINEAR + CONV
SIXTEEN = [name for name in ALL if "to_k" not in name]
lycoris("lora", LoConModule, LINEAR + CONV[1:], plain, lora_dim=4, alpha=2)
lycoris("lora-f16", LoConModule, LINEAR[:1], plain, torch.float16, lora_dim=4, alpha=3)
lycoris("lora-bf16", LoConModule, LINEAR[:1], plain, torch.bfloat16, lora_dim=4, alpha=3)
lycoris("locon", LoConModule, ALL, plain, lora_dim=3, alpha=1.5)
lycoris("locon-tucker", LoConModule, CONV, plain, lora_dim=3, alpha=1.5, use_tucker=True)
lycoris("dora-out", LoConModule, ALL, directed, lora_dim=3, alpha=2, weight_decompose=True, wd_on_out=True)
lycoris("dora-in", LoConModule, ALL, directed, lora_dim=3, alpha=2, weight_decompose=True, wd_on_out=False)
lycoris("loha", LohaModule, ALL, by_forward, lora_dim=3, alpha=2)
lycoris("loha-tucker", LohaModule, CONV, by_forward, lora_dim=3, alpha=2, use_tucker=True)
lycoris("loha-dora", LohaModule, ALL, by_forward, lora_dim=3, alpha=2, weight_decompose=True)
lycoris("lokr", LokrModule, ALL, by_forward, lora_dim=2, alpha=0.5, factor=2)
lycoris("lokr-both", LokrModule, ALL, by_forward, lora_dim=1, alpha=0.5, factor=4, decompose_both=True)
lycoris("lokr-full", LokrModule, ALL, by_forward, lora_dim=9, alpha=3, factor=2)
lycoris("lokr-tucker", LokrModule, CONV, by_forward, lora_dim=3, alpha=0.5, factor=2, use_tucker=True)
lycoris("lokr-unbalanced", LokrModule, ALL, by_forward, lora_dim=1, alpha=0.5, factor=2, unbalanced_factorization=True)
lycoris("lokr-dora", LokrModule, ALL, by_forward, lora_dim=1, alpha=0.5, factor=4, weight_decompose=True)
lycoris("glora", GLoRAModule, ALL, plain, lora_dim=3, alpha=1.5)
lycoris("ia3-out", IA3Module, ALL, plain)
lycoris("ia3-in", IA3Module, ALL, plain, train_on_input=True)
lycoris("oft", DiagOFTModule, ALL, plain, lora_dim=4)
lycoris("oft-constrained", DiagOFTModule, ALL, plain, lora_dim=4, constraint=0.02)
lycoris("oft-rescaled", DiagOFTModule, ALL, plain, lora_dim=4, rescaled=True)
lycoris("boft", ButterflyOFTModule, SIXTEEN, plain, lora_dim=4)
lycoris("boft-rescaled", ButterflyOFTModule, SIXTEEN, plain, lora_dim=4, rescaled=True, constraint=0.02)
lycoris("full", FullModule, ALL, full)
lycoris("norm", NormModule, ["mid_block.norm1"], plain)


def peft(case, config, std=0.3, dora=False):
    """Rounds of peft: the model is changed in place and put back."""
    fresh = Model()
    fresh.load_state_dict(weights)
    adapted = get_peft_model(fresh, config)
    for name, parameter in adapted.named_parameters():
        if "lora_magnitude" in name:
            parameter.data.mul_(1 + 0.3 * torch.randn_like(parameter))
        elif parameter.requires_grad:
            parameter.data.add_(std * torch.randn_like(parameter))
    stored = {key: value.clone().contiguous() for key, value in get_peft_model_state_dict(adapted).items()}
    save_file(stored, OUT / f"{case}.safetensors")
    merged = adapted.merge_and_unload()
    for name, parameter in merged.named_parameters():
        change = parameter.detach() - weights[name]
        if change.abs().max() > 0:
            golden[f"{case}/{name}"] = change.float().contiguous()


EVERY = ["to_q", "to_k", "proj_in", "conv1", "conv_shortcut"]
peft("peft-lora", LoraConfig(r=3, lora_alpha=3, target_modules=EVERY))
peft("peft-lora-bias", LoraConfig(r=3, lora_alpha=3, target_modules=["proj_in"], lora_bias=True))
peft("peft-dora", LoraConfig(r=3, lora_alpha=3, target_modules=EVERY, use_dora=True))
peft("peft-loha", LoHaConfig(r=3, alpha=3, target_modules=EVERY))
peft("peft-lokr", LoKrConfig(r=1, alpha=1, target_modules=EVERY))
peft("peft-ia3", IA3Config(target_modules=["to_q", "to_k", "proj_in"], feedforward_modules=["to_k", "proj_in"]))
peft("peft-oft", OFTConfig(oft_block_size=4, target_modules=["to_q", "to_k", "proj_in"]), std=0.1)
peft("peft-oft-shared", OFTConfig(oft_block_size=4, target_modules=["to_q"], block_share=True), std=0.1)

save_file(golden, OUT / "golden.safetensors")
for name in sorted({key.split("/")[0] for key in golden}):
    print(name, sum(key.startswith(name + "/") for key in golden))
