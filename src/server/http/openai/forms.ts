/** @file OpenAI's routes with pictures in a form: edits, with a mask whose transparent parts are painted anew, and variations. */
import { encodePng } from "../../../image/png.ts";
import { dataUrlOf } from "../../../node/base64.ts";
import { readPicture } from "../../../node/pictures.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { bytesOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { Refusal } from "../failures.ts";
import type { RouteContext } from "../route.ts";

/** How much of a picture is drawn anew where no mask says where, and the client not how much: as stable-diffusion.cpp's server has it. */
const STRENGTH = 0.75;
/** Fields of a form are text; those of OpenAI's and ours that are none. */
const TEXTS = [
  "prompt",
  "model",
  "size",
  "response_format",
  "output_format",
  "background",
  "user",
  "quality",
  "input_fidelity",
];

/** The form as a body of JSON, its picture and mask as fields of a job. Rejects with Refusal or ArtifactError. */
export async function formBody(context: RouteContext): Promise<JsonObject> {
  const form = await formOf(context);
  const fields: Record<string, unknown> = {};
  for (const [name, value] of form) {
    if (typeof value === "string") fields[name] = formValue(name, value);
  }
  const images = [...form.getAll("image"), ...form.getAll("image[]")];
  const [image, ...others] = images.filter((value) => typeof value !== "string");
  if (!image) throw wrong("image", "a picture is wanted");
  if (others.length > 0) throw wrong("image", "one picture is taken");
  const picture = await readPicture(await bytesOfFile(image), { name: "image", alpha: "apart" });
  const given = form.get("mask");
  const mask =
    given !== null && typeof given !== "string"
      ? await readPicture(await bytesOfFile(given), { name: "mask", alpha: "apart" })
      : picture;
  if (given !== null && !mask.alpha) throw wrong("mask", "it has no transparent parts, which are what is painted anew");
  const { width, height, rgb } = picture;
  return {
    strength: mask.alpha ? undefined : STRENGTH,
    ...fields,
    initImage: await pngUrl({ width, height, rgb }),
    ...(mask.alpha && { maskImage: await pngUrl({ ...mask, rgb: painted(mask.alpha) }) }),
  };
}

async function formOf(context: RouteContext): Promise<FormData> {
  const type = context.req.header("content-type") ?? "none";
  if (!/^multipart\/form-data *;/i.test(type)) {
    const problem = "a form with pictures is wanted";
    throw new Refusal(415, { code: "E_BODY", subject: type.slice(0, 80), problem, next: "send multipart/form-data" });
  }
  const bytes = await bytesOf(context, MAX_PICTURE_BODY_BYTES);
  try {
    return await new Response(bytes, { headers: { "content-type": type } }).formData();
  } catch {
    throw wrong("body", "the form can't be read");
  }
}

/** Numbers and switches as JSON has them. */
function formValue(name: string, text: string): unknown {
  if (TEXTS.includes(name)) return text;
  if (/^-?\d+(\.\d+)?$/.test(text) && Number.isSafeInteger(Math.trunc(Number(text)))) return Number(text);
  return text === "true" ? true : text === "false" ? false : text;
}

/** Ours is white where it is painted anew; OpenAI's is transparent there. */
function painted(alpha: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(3 * alpha.length);
  for (let at = 0; at < alpha.length; at++) rgb.fill(255 - alpha[at]!, 3 * at, 3 * at + 3);
  return rgb;
}

async function pngUrl(image: Parameters<typeof encodePng>[0]): Promise<string> {
  const { width, height, rgb } = image;
  return dataUrlOf("image/png", await encodePng({ width, height, rgb }));
}

async function bytesOfFile(file: Blob): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await file.arrayBuffer());
}

function wrong(subject: string, problem: string): Refusal {
  return new Refusal(400, { code: "E_REQUEST", subject, problem, next: `give ${subject} as OpenAI's API has it` });
}
