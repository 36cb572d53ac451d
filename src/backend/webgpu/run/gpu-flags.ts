/** @file WebGPU's usage flags, so that nothing needs the globals of a browser (values: the WebGPU specification). */

export const USAGE = {
  mapRead: 0x0001,
  mapWrite: 0x0002,
  copySource: 0x0004,
  copyTarget: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
} as const;

export const MAP = { read: 1, write: 2 } as const;

export const COMPUTE_STAGE = 4;
