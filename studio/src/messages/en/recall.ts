/** @file Words around settings that come back from a picture. */
export const recall = {
  "recall.title": "How this picture was made",
  "recall.drop": "Drop a picture to get its settings back",
  "recall.noPicture": "That is no PNG, JPEG or WebP.",
  "recall.nothing": "This picture says nothing of how it was made.",
  "recall.exact": "Will be remade byte for byte",
  "recall.other": "Will come out a little different",
  "recall.withoutSeed": "Without the seed",
  "recall.promptOnly": "Prompt only",
  "recall.begin": "Begin with this picture",
  "recall.template": "Template",
  "recall.drawn": "Drawn",
  "recall.tool": "Made with {tool}",
} as const;
