/**
 * @file Networks that enlarge pictures: ESRGAN's RRDBNet (Wang et al. 2018, "ESRGAN"; github.com/xinntao/ESRGAN, BasicSR rrdbnet_arch.py) and
 * Real-ESRGAN's SRVGGNetCompact (BasicSR srvgg_arch.py). Written once; which one a file holds is told by upscaler-file.ts. B batch, C channels.
 */
import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { conv } from "./layers.ts";

/** Parameters are named as in BasicSR. */
export type UpscalerConfig = RrdbConfig | CompactConfig;

export interface RrdbConfig {
  readonly kind: "RRDBNet";
  /** Of the result to the picture. */
  readonly scale: number;
  /** The picture is folded so many times a side into channels before the first layer (pixel unshuffle). */
  readonly fold: number;
  readonly features: number;
  readonly growth: number;
  readonly blocks: number;
  /** Doublings at the end. */
  readonly doublings: number;
}

export interface CompactConfig {
  readonly kind: "SRVGGNetCompact";
  readonly scale: number;
  readonly fold: 1;
  readonly features: number;
  /** Convolutions between the first and the last. */
  readonly layers: number;
}

/** Colours of what comes in and goes out. */
const COLOURS = 3;
const SLOPE = 0.2;
/** Residual scaling of the paper. */
const RESIDUAL = 0.2;

/** Enlarging goes in bands of rows (bands/) of about this much, always: it decides the last bits of every picture. */
export const UPSCALE_BAND_BYTES = 64 * 1024 ** 2;

/** A network in two: the trunk at the size of what comes in, which a device holds whole, and what enlarges, in bands. */
export interface UpscalerGraphs {
  /**
   * Input "picture" [1, 3 fold^2, height / fold, width / fold], 0..1, folded by `foldPicture`. Output "features" [1, C, height / fold, width / fold] (RRDBNet),
   * or "folded" [1, 3 scale^2, height, width] (SRVGGNetCompact), which `unfoldPicture` spreads.
   */
  readonly trunk: Graph;
  /** Input "features", output "picture" [1, 3, height scale, width scale]. */
  readonly tail?: Graph;
}

/** Height and width in pixels, multiples of `fold`. */
export function upscalerGraphs(config: UpscalerConfig, height: number, width: number): UpscalerGraphs {
  const { trunk, tail } = buildersOf(config, height, width);
  return { trunk: trunk.build(), ...(tail && { tail: tail.build() }) };
}

/** Every parameter that the network has. */
export function upscalerSchema(config: UpscalerConfig): ReadonlyMap<string, readonly number[]> {
  const { trunk, tail } = buildersOf(config, config.fold, config.fold);
  return new Map([...trunk.weightShapes(), ...(tail?.weightShapes() ?? [])]);
}

function buildersOf(config: UpscalerConfig, height: number, width: number) {
  // In fp32 whatever is declared: a picture's worth of work, and 23 blocks deep.
  const trunk = new GraphBuilder("upscaler.trunk", { fp32: true });
  const { fold } = config;
  const picture = trunk.input("picture", [1, COLOURS * fold ** 2, height / fold, width / fold]);
  if (config.kind === "SRVGGNetCompact") {
    compact(trunk, picture, config);
    return { trunk, tail: undefined };
  }
  const features = rrdbTrunk(trunk, picture, config); // [1, C, H, W]
  trunk.output("features", features);
  const tail = new GraphBuilder("upscaler.tail", { fp32: true });
  tail.output("picture", rrdbTail(tail, tail.input("features", features.shape), config));
  return { trunk, tail };
}

function leaky(g: GraphBuilder, x: Tensor): Tensor {
  return g.node("leakyRelu", [x], { slope: SLOPE });
}

function rrdbTrunk(g: GraphBuilder, picture: Tensor, config: RrdbConfig): Tensor {
  const { features, blocks } = config;
  const first = g.segment("conv_first", () => conv(g, picture, "conv_first", features, { kernel: 3 })); // [1, C, H, W]
  let x = first;
  for (let i = 0; i < blocks; i++) x = g.segment(`body.${i}`, () => residualInResidual(g, x, `body.${i}`, config));
  return g.segment("conv_body", () => g.node("add", [first, conv(g, x, "conv_body", features, { kernel: 3 })], {}));
}

function rrdbTail(g: GraphBuilder, features: Tensor, { doublings }: RrdbConfig): Tensor {
  let x = features;
  for (let i = 1; i <= doublings; i++) {
    x = g.segment(`conv_up${i}`, () => {
      const [, channels, height, width] = x.shape as [number, number, number, number];
      const larger = g.node("upsampleNearest", [x], { height: 2 * height, width: 2 * width });
      return leaky(g, conv(g, larger, `conv_up${i}`, channels, { kernel: 3 }));
    });
  }
  return g.segment("conv_last", () => {
    const sharpened = leaky(g, conv(g, x, "conv_hr", x.shape[1]!, { kernel: 3 }));
    return conv(g, sharpened, "conv_last", COLOURS, { kernel: 3 });
  });
}

/** Three dense blocks and what goes around them. */
function residualInResidual(g: GraphBuilder, x: Tensor, name: string, config: RrdbConfig): Tensor {
  let y = x;
  for (let i = 1; i <= 3; i++) y = denseBlock(g, y, `${name}.rdb${i}`, config);
  return g.node("add", [x, g.node("scale", [y], { factor: RESIDUAL })], {});
}

/** Each convolution reads all before it: C, C + G, ... channels. */
function denseBlock(g: GraphBuilder, x: Tensor, name: string, { features, growth }: RrdbConfig): Tensor {
  let all = x;
  for (let i = 1; i <= 4; i++) {
    const grown = leaky(g, conv(g, all, `${name}.conv${i}`, growth, { kernel: 3 })); // [B, G, H, W]
    all = g.node("concat", [all, grown], { axis: 1 });
  }
  const last = conv(g, all, `${name}.conv5`, features, { kernel: 3 });
  return g.node("add", [x, g.node("scale", [last], { factor: RESIDUAL })], {});
}

/** Convolutions with a learned slope a channel; the picture itself, repeated, is added by `unfoldPicture`. */
function compact(g: GraphBuilder, picture: Tensor, { features, layers, scale }: CompactConfig): void {
  let x = picture;
  for (let i = 0; i <= layers; i++) {
    const name = `body.${2 * i}`;
    x = g.segment(name, () => {
      const convolved = conv(g, x, name, features, { kernel: 3 });
      return g.node("prelu", [convolved, g.weight(`body.${2 * i + 1}.weight`, [features])], {});
    });
  }
  const name = `body.${2 * layers + 2}`;
  g.output(
    "folded",
    g.segment(name, () => conv(g, x, name, COLOURS * scale ** 2, { kernel: 3 })),
  );
}

/** PyTorch's pixel_unshuffle: [C, height, width] -> [C fold^2, height / fold, width / fold]. */
export function foldPicture(
  planes: Float32Array,
  fold: number,
  height: number,
  width: number,
): Float32Array<ArrayBuffer> {
  const [rows, columns] = [height / fold, width / fold];
  const folded = new Float32Array(planes.length);
  let into = 0;
  for (let channel = 0; channel < planes.length / (height * width); channel++) {
    for (let place = 0; place < fold * fold; place++) {
      const [dy, dx] = [Math.floor(place / fold), place % fold];
      for (let y = 0; y < rows; y++) {
        const row = (channel * height + y * fold + dy) * width + dx;
        for (let x = 0; x < columns; x++) folded[into++] = planes[row + x * fold]!;
      }
    }
  }
  return folded;
}

/** PyTorch's pixel_shuffle, and the picture itself by nearest neighbours on top: [3 scale^2, height, width] + [3, height, width] -> [3, height scale, width scale]. */
export function unfoldPicture(
  folded: Float32Array,
  picture: Float32Array,
  scale: number,
  height: number,
  width: number,
): Float32Array<ArrayBuffer> {
  const large = new Float32Array(folded.length);
  const [tall, wide] = [height * scale, width * scale];
  let into = 0;
  for (let channel = 0; channel < COLOURS; channel++) {
    for (let y = 0; y < tall; y++) {
      const row = Math.floor(y / scale);
      for (let x = 0; x < wide; x++) {
        const column = Math.floor(x / scale);
        const plane = (channel * scale + (y % scale)) * scale + (x % scale);
        large[into++] =
          folded[(plane * height + row) * width + column]! + picture[(channel * height + row) * width + column]!;
      }
    }
  }
  return large;
}
