/** @file `#hash` in Node: node:crypto, and WebCrypto where libuv's threads shall do the work. */
import { createHash, hash } from "node:crypto";
import type { Hash } from "../source/platform.ts";

export const sha256: Hash["sha256"] = () => {
  const state = createHash("sha256");
  return {
    update(content) {
      state.update(content);
      return this;
    },
    digestHex: () => state.digest("hex"),
  };
};

export const sha256Hex: Hash["sha256Hex"] = (content) => hash("sha256", content, "hex");

export const sha256Digest: Hash["sha256Digest"] = async (bytes) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
