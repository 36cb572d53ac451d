/** @file מילים של הגדלה. */
export const enlarge = {
  "enlarge.open": "הגדלה",
  "enlarge.title": "הגדלת התמונה",
  "enlarge.none":
    "לא נמצאו רשתות שמגדילות. הפעל את השרת עם ‎--upscaler-dir ותיקייה שלהן (ESRGAN ודומיו), או צייר את התמונה גדולה יותר, עם יותר פרטים.",
  "enlarge.network": "באמצעות",
  "enlarge.times": "פי כמה",
  "enlarge.timesOf": "×{times}",
  "enlarge.takes": "כ־{time}",
  "enlarge.go": "הגדלה",
  "enlarge.asked": "התמונה מוגדלת",
  "enlarge.job": "הגדלה: {prompt}",
  "enlarge.step": "חלק {step} מתוך {steps}",
} as const;
