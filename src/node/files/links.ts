/** @file Where the links of a model folder may lead: nowhere else on this machine than to what can only be a model's file. */
import { basename, dirname, extname, join, sep } from "node:path";

/** A blob's name: git's sha1 of a small file, the sha256 of a large one. */
const BLOB_NAME = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * Whether a file of the folder `root`, asked for by `name`, may be read at `real`, both without links in them:
 * in the folder itself; as a blob of a Hugging Face cache, whose name is its content's (snapshots are such links, and folders that an
 * older hub client made for `--local-dir`); weights also as another file of weights, which someone keeps on a larger disk.
 */
export function mayLeadTo(root: string, name: string, real: string): boolean {
  if (real.startsWith(root.endsWith(sep) ? root : root + sep)) return true;
  const folder = dirname(real);
  if (basename(dirname(root)) === "snapshots" && folder === join(dirname(dirname(root)), "blobs")) return true;
  const isCacheBlob = basename(folder) === "blobs" && basename(dirname(folder)).startsWith("models--");
  if (isCacheBlob && BLOB_NAME.test(basename(real))) return true;
  return isWeights(name) && isWeights(real);
}

function isWeights(path: string): boolean {
  return extname(path) === ".safetensors";
}
