/** @file What a picture calls the model that made it. */

export interface ModelName {
  /** A Hugging Face id where the model lies in a cache, else its folder's or file's name. */
  readonly model: string;
  /** The commit of a Hugging Face model. */
  readonly modelRevision?: string | undefined;
}

/** models--ORG--NAME/snapshots/COMMIT of a Hugging Face cache; neither part of an id may have "--" in it. */
const SNAPSHOT = /(?:^|[\\/])models--([^\\/]+)[\\/]snapshots[\\/]([0-9a-f]{40})[\\/]*$/;

/** The name of the model at `path`. */
export function modelNamed(path: string): ModelName {
  const [, id, commit] = SNAPSHOT.exec(path) ?? [];
  if (id !== undefined) return { model: id.replace("--", "/"), modelRevision: commit };
  return { model: path.split(/[\\/]/).filter(Boolean).at(-1) ?? path };
}
