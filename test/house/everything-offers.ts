/** The tools, resources and prompts that the conformance suite asks for, under the names that it knows them by. */

import { setTimeout as delay } from 'node:timers/promises';
import { completable } from '@modelcontextprotocol/sdk/server/completable.js';
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import {
  type CallToolResult,
  type ContentBlock,
  CreateMessageResultSchema,
  type ElicitRequestFormParams,
  ElicitResultSchema,
  type PromptMessage,
  type ServerNotification,
  type ServerRequest,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { ENUMS, PRIMITIVES, SCHEMA_2020_12, USER } from './everything-schemas.ts';

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>;

/** One pixel. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
/** A head and no samples. */
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
/** Milliseconds between two messages of a tool that talks while it runs. */
const PAUSE = 50;

const text = (said: string): ContentBlock => ({ type: 'text', text: said });
const image: ContentBlock = { type: 'image', data: PNG, mimeType: 'image/png' };
const embedded = (uri: string, mimeType: string, said: string): ContentBlock => ({
  type: 'resource',
  resource: { uri, mimeType, text: said },
});

/** A server for one session; it is not connected yet. */
export function newEverything(): McpServer {
  const server = new McpServer(
    { name: 'everything', version: '1.0.0' },
    { capabilities: { logging: {}, resources: { subscribe: true } } },
  );
  offerContents(server);
  offerTalk(server);
  offerQuestions(server);
  offerResources(server);
  offerPrompts(server);
  return server;
}

function offerContents(server: McpServer): void {
  const offer = (name: string, description: string, ...content: ContentBlock[]) =>
    server.registerTool(name, { description }, () => ({ content }));
  offer('test_simple_text', 'Answers with text', text('This is a simple text response for testing.'));
  offer('test_image_content', 'Answers with an image', image);
  offer('test_audio_content', 'Answers with audio', { type: 'audio', data: WAV, mimeType: 'audio/wav' });
  offer(
    'test_embedded_resource',
    'Answers with a resource',
    embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'),
  );
  offer(
    'test_multiple_content_types',
    'Answers with several kinds of content',
    text('Multiple content types test:'),
    image,
    embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
  );
  server.registerTool('test_error_handling', { description: 'Fails' }, () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  server.registerTool(
    'json_schema_2020_12_tool',
    { description: 'Has an input schema of JSON Schema 2020-12', inputSchema: z.strictObject({}).meta(SCHEMA_2020_12) },
    () => ({ content: [text('As you like it')] }),
  );
}

/** Tools that say something, or hang up, before they answer. */
function offerTalk(server: McpServer): void {
  const offer = (name: string, description: string, run: (extra: Extra) => Promise<void>) =>
    server.registerTool(name, { description }, async (extra) => {
      await run(extra);
      return { content: [text(`${name} is done`)] };
    });

  offer('test_tool_with_logging', 'Logs while it runs', async ({ sendNotification }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data } });
      await delay(PAUSE);
    }
  });
  offer('test_tool_with_progress', 'Reports progress', async ({ sendNotification, _meta }) => {
    const progressToken = _meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      const params = progressToken === undefined ? undefined : { progressToken, progress, total: 100 };
      if (params) await sendNotification({ method: 'notifications/progress', params });
      await delay(PAUSE);
    }
  });
  offer('test_reconnection', 'Closes its stream before it answers', async ({ closeSSEStream }) => {
    closeSSEStream?.();
    await delay(PAUSE);
  });
}

/** Tools that ask the client. */
function offerQuestions(server: McpServer): void {
  server.registerTool(
    'test_sampling',
    { description: 'Asks the model', inputSchema: { prompt: z.string() } },
    async ({ prompt }, { sendRequest }) => {
      const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: prompt } }];
      const params = { messages, maxTokens: 100 };
      const { content } = await sendRequest({ method: 'sampling/createMessage', params }, CreateMessageResultSchema);
      return { content: [text(`LLM response: ${content.type === 'text' ? content.text : content.type}`)] };
    },
  );
  server.registerTool(
    'test_elicitation',
    { description: 'Asks the user', inputSchema: { message: z.string() } },
    ({ message }, extra) => ask(extra, message, USER),
  );
  server.registerTool('test_elicitation_sep1034_defaults', { description: 'Asks with defaults' }, (extra) =>
    ask(extra, 'Anything to change?', PRIMITIVES),
  );
  server.registerTool('test_elicitation_sep1330_enums', { description: 'Asks for choices' }, (extra) =>
    ask(extra, 'Which ones?', ENUMS),
  );
}

async function ask(
  { sendRequest }: Extra,
  message: string,
  requestedSchema: ElicitRequestFormParams['requestedSchema'],
): Promise<CallToolResult> {
  const params = { message, requestedSchema };
  const { action, content } = await sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema);
  return { content: [text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`)] };
}

function offerResources(server: McpServer): void {
  const fixed = (name: string, mimeType: string, contents: { readonly text: string } | { readonly blob: string }) => {
    const uri = `test://${name}`;
    const about = { description: `The ${name} resource`, mimeType };
    server.registerResource(name, uri, about, () => ({ contents: [{ uri, mimeType, ...contents }] }));
  };
  fixed('static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  fixed('static-binary', 'image/png', { blob: PNG });
  fixed('watched-resource', 'text/plain', { text: 'It could change.' });

  const mimeType = 'application/json';
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { description: 'A resource for each id', mimeType },
    ({ href }, { id }) => {
      const said = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` });
      return { contents: [{ uri: href, mimeType, text: said }] };
    },
  );
  const watched = new Set<string>();
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    watched.add(params.uri);
    return {};
  });
  server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    watched.delete(params.uri);
    return {};
  });
}

function offerPrompts(server: McpServer): void {
  const said = (...contents: ContentBlock[]): { messages: PromptMessage[] } => ({
    messages: contents.map((content) => ({ role: 'user', content })),
  });
  server.registerPrompt('test_simple_prompt', { description: 'Without arguments' }, () =>
    said(text('This is a simple prompt for testing.')),
  );
  const known = (name: string) =>
    completable(z.string(), (begun) => [`${name}-one`, `${name}-two`].filter((one) => one.startsWith(begun)));
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'With two arguments', argsSchema: { arg1: known('arg1'), arg2: known('arg2') } },
    ({ arg1, arg2 }) => said(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'With a resource', argsSchema: { resourceUri: z.string() } },
    ({ resourceUri }) =>
      said(
        embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
        text('Please process the embedded resource above.'),
      ),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'With an image' }, () =>
    said(image, text('Please analyze the image above.')),
  );
}
