/** @file One message of the Model Context Protocol, answered by a server of the SDK's that lives as long as the answer. */
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import {
  CallToolRequestSchema,
  ErrorCode,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import type { JsonObject } from "../../../source/json-fields.ts";
import { SOLVAY_VERSION } from "../../../version.ts";
import { failureOf } from "../failures.ts";
import { listedPictures, PICTURE_TEMPLATE, readPictureResource } from "./pictures.ts";
import { TOOLS, type ToolCaller } from "./tools.ts";

const INSTRUCTIONS =
  "Draws pictures with Stable Diffusion XL. generate waits for the picture and gives a small copy of it; the full one is the resource beside it. " +
  "If it takes longer than wait_s, generate gives the job: ask get_job for it. plan says beforehand what a picture takes.";

/** @param message the body, one message */
export async function answerMcp(caller: ToolCaller, request: Request, message: JsonObject): Promise<Response> {
  const server = new Server(
    { name: "solvay", version: SOLVAY_VERSION },
    { capabilities: { tools: {}, resources: {} }, instructions: INSTRUCTIONS },
  );
  const { services } = caller;
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: Object.entries(TOOLS).map(([name, { description, input, readOnly }]) => ({
      ...{ name, description, inputSchema: { type: "object" as const, ...input() } },
      annotations: { readOnlyHint: readOnly, destructiveHint: false, openWorldHint: false },
    })),
  }));
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { signal, sendNotification }) => {
    const tool = Object.hasOwn(TOOLS, params.name) ? TOOLS[params.name] : undefined;
    if (!tool) {
      const text = `there is no such tool (found ${JSON.stringify(params.name.slice(0, 60))}, allowed ${Object.keys(TOOLS).join(", ")})`;
      throw new McpError(ErrorCode.InvalidParams, text);
    }
    const progressToken = params._meta?.progressToken;
    const tell = async (progress: number, total: number, text: string) => {
      if (progressToken === undefined) return;
      const told = { progressToken, progress, total, message: text };
      // Whoever has gone hears nothing.
      await sendNotification({ method: "notifications/progress", params: told }).catch(() => {});
    };
    try {
      return await tool.call(params.arguments ?? {}, {
        ...caller,
        signal: AbortSignal.any([signal, request.signal]),
        tell,
      });
    } catch (error) {
      const { status, message: text } = failureOf(error);
      if (status === 500) services.onFailure(error);
      return { isError: true, content: [{ type: "text", text }] };
    }
  });
  server.setRequestHandler(ListResourcesRequestSchema, async () => ({ resources: await listedPictures(services) }));
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [PICTURE_TEMPLATE] }));
  server.setRequestHandler(ReadResourceRequestSchema, async ({ params: { uri } }) => {
    const contents = await readPictureResource(services, uri);
    if (!contents) throw new McpError(RESOURCE_NOT_FOUND, `there is no such picture: ${uri.slice(0, 120)}`, { uri });
    return { contents: [contents] };
  });
  // No session: whoever asks next may ask another process.
  const transport = new WebStandardStreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  return await transport.handleRequest(request, { parsedBody: message });
}

/** Of the protocol's (2025-06-18, Resources: Error Handling). */
const RESOURCE_NOT_FOUND = -32002;
