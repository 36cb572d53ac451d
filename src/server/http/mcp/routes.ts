/** @file The Model Context Protocol at /mcp, so that agents draw. What it is made of is loaded by the first who asks. */
import type { Services } from "../../services.ts";
import { jsonOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import type { Route, RouteContext } from "../route.ts";

export function mcpRoutes(services: Services): readonly Route[] {
  // Nothing is kept between requests, so there is no stream to listen to and no session to end.
  const error = { code: -32000, message: "Method not allowed." };
  const notAllowed = () =>
    Response.json({ jsonrpc: "2.0", id: null, error }, { status: 405, headers: { allow: "POST" } });
  return [
    {
      ...{ method: "post", path: "/mcp", summary: "Tools and pictures for agents (MCP, streamable HTTP)" },
      body: { schema: { type: "object", description: "a JSON-RPC 2.0 message" } },
      answers: "text/event-stream",
      async handle(context: RouteContext) {
        const message = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        const { answerMcp } = await import("./answer.ts");
        const origin = new URL(context.req.url).origin;
        return await answerMcp({ services, owner: context.get("owner"), origin }, context.req.raw, message);
      },
    },
    { ...{ method: "get", path: "/mcp", summary: "There is no stream beside requests" }, handle: notAllowed },
    { ...{ method: "delete", path: "/mcp", summary: "There are no sessions" }, handle: notAllowed },
  ];
}
