/** @file מילים של תמונות לצד ההנחיה. */
export const likeness = {
  "likeness.title": "בדומה לתמונה",
  "likeness.add": "שחרר תמונה כדי לדמות לתוכן או לסגנון שלה",
  "likeness.another": "שחרר תמונה נוספת כדי לדמות גם לה",
  "likeness.none": "לא נמצאו IP-Adapter. הפעל את השרת עם ‎--ip-adapter-dir ותיקייה שלהם ושל מקודדי התמונה שלהם.",
  "likeness.adapter": "IP-Adapter",
  "likeness.picture": "תמונה לחיקוי",
  "likeness.more": "עוד תמונה",
  "likeness.needsPicture": "שחרר תמונה שהחדשה תדמה לה.",
  "likeness.mask": "רק כאן",
  "likeness.maskHint": "שחרר מסכה כדי שהתמונה תיחשב רק היכן שהמסכה לבנה.",
  "likeness.weight": "כמה היא נחשבת",
  "likeness.fitting": "המתאים",
  "likeness.part.encoder": "מקודד תמונה",
  "likeness.part.start": "היא נחשבת מחלק זה של הצעדים",
  "likeness.part.end": "היא נחשבת עד חלק זה של הצעדים",
} as const;
