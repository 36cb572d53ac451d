/** @file Words of pictures beside the prompt. */
export const likeness = {
  "likeness.title": "Take after a picture",
  "likeness.add": "Drop a picture to take after its content or style",
  "likeness.another": "Drop another picture to take after that too",
  "likeness.none":
    "No IP-Adapters were found. Start the server with --ip-adapter-dir and a folder of them and their image encoders.",
  "likeness.adapter": "IP-Adapter",
  "likeness.picture": "Picture to take after",
  "likeness.more": "One more picture",
  "likeness.needsPicture": "Drop a picture that the new one should take after.",
  "likeness.mask": "Only here",
  "likeness.maskHint": "Drop a mask to let it count only where the mask is white.",
  "likeness.weight": "How much it counts",
  "likeness.fitting": "the one that fits",
  "likeness.part.encoder": "Image encoder",
  "likeness.part.start": "It counts from this share of the steps",
  "likeness.part.end": "It counts to this share of the steps",
} as const;
