/** @file מילים סביב הגדרות שחוזרות מתמונה. */
export const recall = {
  "recall.title": "כך נוצרה התמונה",
  "recall.drop": "שחרר תמונה כדי לקבל את הגדרותיה",
  "recall.noPicture": "זה אינו PNG, JPEG או WebP.",
  "recall.nothing": "התמונה אינה מספרת כיצד נוצרה.",
  "recall.exact": "תיווצר מחדש בדיוק, בית אחר בית",
  "recall.other": "תצא מעט שונה",
  "recall.withoutSeed": "בלי הזרע",
  "recall.promptOnly": "הנחיה בלבד",
  "recall.begin": "להתחיל מתמונה זו",
  "recall.template": "תבנית",
  "recall.drawn": "מתוכה",
  "recall.tool": "נוצרה בעזרת {tool}",
} as const;
