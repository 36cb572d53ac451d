/** @file SDXL base 1.0 as data. */
import { JsonConfig } from "../../checkpoint/json-config.ts";
import { baseFile } from "./base-files.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";

const config = (file: Parameters<typeof baseFile>[0]) => new JsonConfig(file, baseFile(file));

export const SDXL_BASE_UNET = unetConfig(config("unet/config.json"));
export const SDXL_BASE_CLIP_L = clipConfig(config("text_encoder/config.json"));
export const SDXL_BASE_CLIP_BIG_G = clipConfig(config("text_encoder_2/config.json"));
export const SDXL_BASE_VAE = vaeConfig(config("vae/config.json"));
