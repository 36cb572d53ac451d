/** @file What is left of a picture that was stopped: its last preview, as a small file beside where it would have been. */
import { encodePng } from "../image/png.ts";
import type { CliContext } from "./context.ts";
import { previewTarget, savePicture, type Target } from "./output-file.ts";
import type { Progress } from "./progress.ts";

/** Saves what `progress` last had of the picture of that number that was to be saved as `target`, or as `first`, and says where; nothing if there was none. */
export async function keepPreview(
  { cwd }: Pick<CliContext, "cwd">,
  progress: Progress,
  image: number,
  { target, first }: { readonly target?: Target | undefined; readonly first?: string | undefined },
): Promise<void> {
  const preview = progress.lastPreview(image);
  if (!preview) return;
  const { step, steps } = preview;
  const text = [{ keyword: "Comment", text: `Preview after step ${step} of ${steps}: the picture was stopped there.` }];
  const saved = await savePicture(cwd, await previewTarget(cwd, target, first), {
    bytes: await encodePng({ ...preview, text }),
    format: "png",
  });
  progress.say(`Kept its preview after step ${step} of ${steps}: ${saved.shown}`);
}
