/** @file Whole segments as the networks have them: chains of ops, values read twice, several results, shared weights. */
import type { GraphBuilder } from "../../src/ir/builder.ts";
import { add, groupNorm, layerNorm, linear, resnet, silu, upsample } from "../../src/models/layers.ts";

export interface SegmentCase {
  readonly name: string;
  /** Adds inputs, one segment and outputs. Every input's first axis is the batch. */
  readonly build: (g: GraphBuilder, batch: number) => void;
}

export const SEGMENT_CASES: readonly SegmentCase[] = [
  {
    name: "ResNet block with skip, time and shortcut",
    build(g, batch) {
      const x = g.input("x", [batch, 8, 6, 5]);
      const skip = g.input("skip", [batch, 4, 6, 5]);
      const time = g.input("time", [batch, 16]);
      g.segment("block", () => {
        const joined = g.node("concat", [x, skip], { axis: 1 });
        g.output("y", resnet(g, joined, "block", { outChannels: 16, groups: 4, eps: 1e-5, time }));
      });
    },
  },
  {
    name: "ResNet block without shortcut or time",
    build(g, batch) {
      const x = g.input("x", [batch, 12, 3, 7]);
      g.segment("block", () => g.output("y", resnet(g, x, "block", { outChannels: 12, groups: 3, eps: 1e-6 })));
    },
  },
  {
    name: "transformer block",
    build(g, batch) {
      const x = g.input("x", [batch, 20, 12]);
      const k = g.input("k", [batch, 7, 12]);
      const v = g.input("v", [batch, 7, 12]);
      g.segment("block", () => {
        const normed = layerNorm(g, x, "norm1", 1e-5);
        const qkv = ["q", "k", "v"].map((part) => linear(g, normed, `to_${part}`, 12, false));
        const self = g.node("attention", qkv, { heads: 3, causal: false });
        let h = add(g, x, linear(g, self, "out1", 12));
        const q = linear(g, layerNorm(g, h, "norm2", 1e-5), "to_q2", 12, false);
        h = add(g, h, linear(g, g.node("attention", [q, k, v], { heads: 3, causal: false }), "out2", 12));
        const inner = linear(g, layerNorm(g, h, "norm3", 1e-5), "ff0", 96);
        g.output("y", add(g, h, linear(g, g.node("geglu", [inner], {}), "ff2", 12)));
      });
    },
  },
  {
    name: "products by weights that are made in the segment, as adapters do",
    build(g, batch) {
      const x = g.input("x", [batch, 20, 12]);
      const strengths = g.weight("strengths", [4]);
      const one = g.weight("one", [1]);
      const made = (name: string, out: number, columns: number) => {
        const up = g.node("affine", [g.weight(`${name}.up`, [out, 4]), strengths], {});
        const down = g.node("affine", [g.weight(`${name}.down`, [4, columns]), one], {});
        const tokens = g.node("reshape", [down], { shape: [1, 4, columns] });
        const turned = g.node("reshape", [g.node("toImage", [tokens], { height: 4, width: 1 })], {
          shape: [columns, 4],
        });
        return g.node("add", [g.node("linear", [up, turned], {}), g.weight(`${name}.weight`, [out, columns])], {});
      };
      g.segment("block", () => {
        const wide = g.node("linear", [x, made("wide", 48, 12), g.weight("wide.bias", [48])], {});
        const narrow = g.node("linear", [g.node("geglu", [wide], {}), made("narrow", 12, 24)], {});
        g.output("y", add(g, x, narrow));
      });
    },
  },
  {
    name: "CLIP layer, both activations",
    build(g, batch) {
      const x = g.input("x", [batch, 9, 16]);
      g.segment("layer", () => {
        const normed = layerNorm(g, x, "norm", 1e-5);
        const qkv = ["q", "k", "v"].map((part) => linear(g, normed, part, 16));
        const h = add(g, x, linear(g, g.node("attention", qkv, { heads: 2, causal: true }), "out", 16));
        const inner = linear(g, h, "fc1", 48);
        g.output("quick", linear(g, g.node("quickGelu", [inner], {}), "fc2", 16));
        g.output("exact", linear(g, g.node("gelu", [inner], {}), "fc2", 16));
      });
    },
  },
  {
    name: "tokens and back, with the image added",
    build(g, batch) {
      const x = g.input("x", [batch, 8, 5, 4]);
      g.segment("proj", () => {
        const tokens = g.node("toTokens", [groupNorm(g, x, "norm", 2, 1e-6)], {});
        const image = g.node("toImage", [linear(g, tokens, "proj", 8)], { height: 5, width: 4 });
        g.output("y", add(g, image, x));
      });
    },
  },
  {
    name: "upsampling to an odd size",
    build(g, batch) {
      const x = g.input("x", [batch, 6, 4, 3]);
      g.segment("up", () => g.output("y", upsample(g, x, "up", 7, 7)));
    },
  },
  {
    name: "a result that is read on, and one weight in two places",
    build(g, batch) {
      const x = g.input("x", [batch, 10]);
      g.segment("s", () => {
        const first = silu(g, linear(g, x, "twice", 10));
        g.output("first", first);
        g.output("second", add(g, first, linear(g, first, "twice", 10)));
      });
    },
  },
  {
    name: "a value added to itself",
    build(g, batch) {
      const x = g.input("x", [batch, 3, 4]);
      g.segment("s", () => g.output("y", g.node("scale", [add(g, x, x)], { factor: 0.5 })));
    },
  },
];
