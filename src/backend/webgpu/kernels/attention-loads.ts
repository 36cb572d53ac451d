/**
 * @file How attention gets its operands. q goes to workgroup memory once, transposed: tileQ[value of the head][quad of queries].
 * k and v pass through tileKV chunk by chunk, by way of registers (`l0`, `l1` ...), so that a chunk is read while the one before
 * it is computed with: k transposed, [value][quad of keys], XOR-swizzled by 64 bytes; v as it lies, [key][quad of values].
 * Rows beyond the last are read as the last one: their scores are masked, or not stored.
 */
import { type AttentionForm, CHUNK, KEYS } from "./attention-variant.ts";
import { type At, lines, list } from "./text.ts";
import { readScalarAs } from "./wgsl.ts";

/** `read_q`, `read_k`, `read_v`: values d .. d + 3 of a row of the head that starts at `start`, zeros beyond the head. */
export function readFunctions(f: AttentionForm, at: At): string {
  return (["q", "k", "v"] as const)
    .map(
      (operand) =>
        `fn read_${operand}(start: u32, row: u32, d: u32, limit: u32) -> ${f.raw} {\n  ${readRow(f, at, operand)}\n}`,
    )
    .join("\n");
}

function readRow(f: AttentionForm, at: At, operand: "q" | "k" | "v"): string {
  if (f.quad)
    return `if (d >= P.depth) { return ${f.raw}(); }
  return ${at(operand, "(start + min(row, limit - 1u) * P.channels + d) >> 2u")};`;
  const value = (j: number) => readScalarAs(f.arithmetic ?? "f32", "f32", (i) => at(operand, i), `i + ${j}u`);
  return `var r = ${f.raw}();
  if (row >= limit) { return r; }
  let i = start + row * P.channels + d;
${lines(4, (j) => `  if (d + ${j}u < P.depth) { r[${j}] = ${value(j)}; }`)}
  return r;`;
}

/** Reads all queries of the workgroup, 4 rows x 4 values at a time, and stores them transposed. */
export function loadQueries(f: AttentionForm): string {
  // Before the products: 32 of them, unscaled, would pass 65504 sooner.
  const scaled = (value: string) => {
    if (!f.halves) return value;
    return f.quad ? `${f.vec4}(${value} * P.scale)` : `${value} * f16(P.scale)`;
  };
  const row = (j: number) => scaled(`read_q(startQ, firstQuery + r4 * 4u + ${j}u, d4 * 4u, P.queries)`);
  return `  for (var i = t; i < ${f.rows * (f.depth / 4)}u; i += ${f.threads}u) {
    let r4 = i % ${f.rows}u; let d4 = i / ${f.rows}u;

${lines(4, (j) => `    let q${j} = ${row(j)};`)}
${lines(4, (k) => `    tileQ[(d4 * 4u + ${k}u) * ${f.rows}u + r4] = ${f.vec4}(${list(4, (j) => `q${j}[${k}]`)});`)}
  }`;
}

/** Where a thread's blocks of k lie, and its registers. Neighbouring threads read neighbouring values; what they store lies 64 bytes apart. */
export function setUpLoads({ threads, raw, share: { quads, blockKeys, blocks } }: AttentionForm): string {
  return `${lines(
    blocks,
    (i) => `  let block${i} = t + ${i * threads}u;
  let d${i} = ((block${i} & 1u) | ((block${i} / ${(2 * KEYS) / blockKeys}u) << 1u)) * 4u;
  let key${i} = ((block${i} >> 1u) % ${KEYS / blockKeys}u) * ${blockKeys}u;
  let place${i} = d${i} * ${KEYS / 4}u + ((key${i} >> 2u) ^ (d${i} & 4u));`,
  )}
${lines(quads, (i) => `  var l${i} = ${raw}();`)}`;
}

/** Reads chunk `g` of the keys from `first` on into registers. */
export function fetchKeys({ share: { blockKeys, blocks } }: AttentionForm, first: string, g: number): string {
  return lines(blocks, (i) =>
    lines(
      blockKeys,
      (j) => `    l${i * blockKeys + j} = read_k(startK, ${first} + key${i} + ${j}u, ${g * CHUNK}u + d${i}, P.keys);`,
    ),
  );
}

/** Stores the chunk of keys that is in registers, transposed. */
export function storeKeys(f: AttentionForm): string {
  const { blockKeys, blocks } = f.share;
  return lines(blocks, (i) => {
    const put = (k: number) => {
      const target = `tileKV[place${i} + ${(k * KEYS) / 4}u]`;
      if (blockKeys === 4) return `      ${target} = ${packed(f, `${f.vec4}(${list(4, (j) => `n${j}[${k}]`)})`)};`;
      if (f.halves) return `      ${target}[pair] = bitcast<u32>(vec2<f16>(n0[${k}], n1[${k}]));`;
      return `      ${target}[2u * pair] = n0[${k}]; ${target}[2u * pair + 1u] = n1[${k}];`;
    };
    return `    {
${lines(blockKeys, (j) => `      let n${j} = ${converted(f, `l${i * blockKeys + j}`)};`)}
${blockKeys === 2 ? `      let pair = (key${i} >> 1u) & 1u;` : ""}
${lines(4, put)}
    }`;
  });
}

/** Reads chunk `g` of the values of v, of the keys of this round, into registers. */
export function fetchValues({ threads, share: { quads } }: AttentionForm, g: number): string {
  return lines(
    quads,
    (i) =>
      `    l${i} = read_v(startK, firstKey + (t + ${i * threads}u) / ${CHUNK / 4}u, ${g * CHUNK}u + (t % ${CHUNK / 4}u) * 4u, P.keys);`,
  );
}

export function storeValues(f: AttentionForm): string {
  return lines(f.share.quads, (i) => `    tileKV[t + ${i * f.threads}u] = ${packed(f, converted(f, `l${i}`))};`);
}

/** Type of an element of tileKV. */
export function sharedType(f: AttentionForm): string {
  return f.halves ? "vec2<u32>" : f.vec4;
}

/** Such an element, as vec4 of the kernel's arithmetic. */
export function sharedQuad(f: AttentionForm, index: string): string {
  return f.halves ? `bitcast<${f.vec4}>(tileKV[${index}])` : `tileKV[${index}]`;
}

function packed(f: AttentionForm, value: string): string {
  return f.halves ? `bitcast<vec2<u32>>(${value})` : value;
}

/** A register, in the kernel's arithmetic. */
function converted(f: AttentionForm, register: string): string {
  return f.quad && f.halves ? `${f.vec4}(${register})` : register;
}
