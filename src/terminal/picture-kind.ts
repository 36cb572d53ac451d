/** @file How this terminal can show a picture, as far as its environment tells: no terminal is asked, since an answer may never come. */
import type { CliContext } from "./context.ts";

export const PICTURE_KINDS = ["kitty", "iterm", "sixel", "blocks"] as const;
export type PictureKind = (typeof PICTURE_KINDS)[number];

/** What `--preview` takes. */
export const PREVIEW_CHOICES = ["auto", "off", ...PICTURE_KINDS] as const;
export type PreviewChoice = (typeof PREVIEW_CHOICES)[number];

/** Terminals by TERM_PROGRAM. */
const PROGRAMS: Readonly<Record<string, PictureKind>> = {
  ghostty: "kitty",
  WezTerm: "iterm",
  "iTerm.app": "iterm",
  vscode: "blocks",
  mintty: "iterm",
};

/** Undefined: none is shown, since it was not wanted, nobody watches, or the terminal shows nothing but text. */
export function pictureKind(
  choice: PreviewChoice,
  { stderr, env }: Pick<CliContext, "stderr" | "env">,
): PictureKind | undefined {
  if (choice === "off" || stderr.isTTY !== true) return undefined;
  if (choice !== "auto") return choice;
  const { TERM = "", TERM_PROGRAM = "", NO_COLOR = "", CI = "" } = env;
  if (TERM === "" || TERM === "dumb" || TERM === "linux" || NO_COLOR !== "" || CI !== "") return undefined;
  // Multiplexers pass no graphics on.
  const multiplexed = env.TMUX !== undefined || env.STY !== undefined || /^(?:screen|tmux)/.test(TERM);
  if (multiplexed) return "blocks";
  if (env.KITTY_WINDOW_ID !== undefined || TERM === "xterm-kitty" || TERM === "xterm-ghostty") return "kitty";
  if (env.KONSOLE_VERSION !== undefined) return "kitty";
  const program = Object.hasOwn(PROGRAMS, TERM_PROGRAM) ? PROGRAMS[TERM_PROGRAM] : undefined;
  if (program !== undefined) return program;
  if (/^(?:foot|mlterm|yaft|contour)/.test(TERM) || /sixel/.test(TERM)) return "sixel";
  return "blocks";
}

/** 24-bit colours, or else the palette of 256. */
export function hasTrueColour({ COLORTERM = "", TERM = "", WT_SESSION }: CliContext["env"]): boolean {
  return /truecolor|24bit/i.test(COLORTERM) || /direct|kitty|ghostty|foot/.test(TERM) || WT_SESSION !== undefined;
}
