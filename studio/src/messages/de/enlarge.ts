/** @file Worte vom Vergrößern. */
export const enlarge = {
  "enlarge.open": "Vergrößern",
  "enlarge.title": "Bild vergrößern",
  "enlarge.none":
    "Es wurden keine Netze gefunden, die vergrößern. Starte den Server mit --upscaler-dir und einem Ordner davon (ESRGAN und Verwandte), oder male das Bild größer, mit mehr Einzelheiten.",
  "enlarge.network": "Womit",
  "enlarge.times": "Wievielmal",
  "enlarge.timesOf": "{times}×",
  "enlarge.takes": "etwa {time}",
  "enlarge.go": "Vergrößern",
  "enlarge.asked": "Das Bild wird vergrößert",
  "enlarge.job": "Vergrößern: {prompt}",
  "enlarge.step": "Teil {step} von {steps}",
} as const;
