/** @file Words of enlarging. */
export const enlarge = {
  "enlarge.open": "Enlarge",
  "enlarge.title": "Enlarge the picture",
  "enlarge.none":
    "No networks that enlarge were found. Start the server with --upscaler-dir and a folder of them (ESRGAN and its kin), or draw the picture larger, with more detail.",
  "enlarge.network": "By",
  "enlarge.times": "How many times",
  "enlarge.timesOf": "{times}×",
  "enlarge.takes": "about {time}",
  "enlarge.go": "Enlarge",
  "enlarge.asked": "The picture is being enlarged",
  "enlarge.job": "Enlarging: {prompt}",
  "enlarge.step": "Part {step} of {steps}",
} as const;
