/** @file Bytes as base64, without a copy of them: pictures in JSON, in data: URLs, in a terminal's sequences. */

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** A picture's bytes as a data: URL, as a job's fields take it. */
export function dataUrlOf(mediaType: string, bytes: Uint8Array): string {
  return `data:${mediaType};base64,${base64(bytes)}`;
}
