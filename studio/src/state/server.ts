/** @file What the server says of itself: the form's schema and the model. Asked for until it answers, since it may still be opening its model. */
import { ApiError, api } from "../api/client.ts";
import { onConnected } from "../api/events.ts";
import { model, schema } from "./form.ts";

const AGAIN_MS = 1_000;
let asking = false;

async function learn(): Promise<void> {
  if (asking) return;
  asking = true;
  try {
    for (;;) {
      try {
        const [found, [served]] = await Promise.all([api.schema(), api.models()]);
        schema.value = found;
        model.value = served;
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || (error.status !== 503 && error.status !== 0)) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  } finally {
    asking = false;
  }
}

/** Again whenever the server is back: it may serve another model. */
export function followServer(onFailure: (error: unknown) => void): () => void {
  const look = () => void learn().catch(onFailure);
  look();
  return onConnected(look);
}
