/** @file Our own routes for what pages keep with the server: settings by name, each key's own. */

import { isJsonObject } from "../../../source/json-fields.ts";
import { keepSettings, keptSettings, SETTING_LIMITS, SETTING_NAME } from "../../kept-settings.ts";
import type { Services } from "../../services.ts";
import { SETTINGS } from "../answers.ts";
import { jsonOf, MAX_JSON_BYTES } from "../bodies.ts";
import { Refusal, requireOnly } from "../failures.ts";
import type { Route } from "../route.ts";

export function settingRoutes({ database }: Services): readonly Route[] {
  return [
    {
      ...{ method: "get", path: "/api/settings", summary: "What this key's pages keep", answer: SETTINGS },
      handle: async (context) => context.json({ settings: await keptSettings(database, context.get("owner")) }),
    },
    {
      ...{ method: "post", path: "/api/settings", summary: "Keep values by name; null takes one away" },
      answer: SETTINGS,
      body: {
        schema: {
          type: "object",
          properties: {
            settings: {
              type: "object",
              propertyNames: { pattern: SETTING_NAME },
              maxProperties: SETTING_LIMITS.names,
            },
          },
          required: ["settings"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, ["settings"]);
        const { settings } = body;
        if (!isJsonObject(settings)) {
          const problem = "an object of values by name is wanted";
          throw new Refusal(400, { code: "E_SETTING", subject: "settings", problem, next: "send such an object" });
        }
        return context.json({ settings: await keepSettings(database, context.get("owner"), settings) });
      },
    },
  ];
}
