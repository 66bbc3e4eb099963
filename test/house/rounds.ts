/** A server of SDK v2 without sessions, as a process: it asks in rounds, under the names that the conformance suite knows. */

import { getRandomValues } from 'node:crypto';
import { createServer } from 'node:http';
import { localhostHostValidation, toNodeHandler } from '@modelcontextprotocol/node';
import {
  CLIENT_CAPABILITIES_META_KEY,
  type CallToolResult,
  type InputRequiredResult,
  McpServer,
  type ServerContext,
  acceptedContent,
  createMcpHandler,
  createRequestStateCodec,
  inputRequired,
} from '@modelcontextprotocol/server';
import { z } from 'zod';

type Called = ServerContext['mcpReq'];
type Result = CallToolResult | InputRequiredResult;

const Envelope = z.object({
  [CLIENT_CAPABILITIES_META_KEY]: z.object({ elicitation: z.unknown(), sampling: z.unknown() }).partial().optional(),
});
const State = z.object({ round: z.number() });
/** As in the SDK's example: no other process can read what this one has sealed. */
const codec = createRequestStateCodec<z.infer<typeof State>>({ key: getRandomValues(new Uint8Array(32)) });
const seal = (round: number) => codec.mint({ round });
const roundOf = (request: Called) => State.safeParse(request.requestState()).data?.round ?? 0;

const elicit = (
  field: string,
  property: { readonly type: 'string' } | { readonly type: 'boolean' } = { type: 'string' },
) =>
  inputRequired.elicit({
    message: `What is your ${field}?`,
    requestedSchema: { type: 'object', properties: { [field]: property }, required: [field] },
  });
const confirm = () => elicit('ok', { type: 'boolean' });
const sample = () =>
  inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text: 'What is the capital of France?' } }],
    maxTokens: 100,
  });
const said = (text: string): CallToolResult => ({ content: [{ type: 'text', text }] });
const given = ({ inputResponses }: Called, key: string, field: string) => acceptedContent(inputResponses, key)?.[field];

/** All that one round asks for, with a state where `round` says so. */
async function ask(inputRequests: InputRequiredResult['inputRequests'] & {}, round?: number): Promise<Result> {
  return inputRequired(round === undefined ? { inputRequests } : { inputRequests, requestState: await seal(round) });
}

const TOOLS: Readonly<Record<string, (request: Called) => Promise<Result>>> = {
  test_simple_text: async () => said('This is a simple text response for testing.'),
  async test_input_required_result_elicitation(request) {
    const name = given(request, 'user_name', 'name');
    return typeof name === 'string' ? said(`Hello, ${name}!`) : ask({ user_name: elicit('name') });
  },
  async test_input_required_result_sampling({ inputResponses }) {
    const answer = inputResponses?.['capital_question'];
    return answer === undefined ? ask({ capital_question: sample() }) : said(`It said ${JSON.stringify(answer)}`);
  },
  async test_input_required_result_list_roots({ inputResponses }) {
    const roots = inputResponses?.['client_roots'];
    return roots === undefined ? ask({ client_roots: inputRequired.listRoots() }) : said(JSON.stringify(roots));
  },
  async test_input_required_result_request_state(request) {
    if (given(request, 'confirm', 'ok') === undefined) return ask({ confirm: confirm() }, 1);
    return said(roundOf(request) === 1 ? 'state-ok' : 'there is no state');
  },
  async test_input_required_result_multiple_inputs({ inputResponses = {} }) {
    const asked = { user_name: elicit('name'), greeting: sample(), client_roots: inputRequired.listRoots() };
    return Object.keys(asked).every((key) => key in inputResponses)
      ? said(JSON.stringify(inputResponses))
      : ask(asked, 1);
  },
  async test_input_required_result_multi_round(request) {
    const round = roundOf(request);
    if (round === 0) return ask({ step1: elicit('name') }, 1);
    if (round === 1) return ask({ step2: elicit('color') }, 2);
    return said(`You like ${String(given(request, 'step2', 'color'))}`);
  },
  async test_input_required_result_tampered_state(request) {
    return roundOf(request) === 1 ? said('integrity-ok') : ask({ confirm: confirm() }, 1);
  },
  async test_input_required_result_capabilities({ envelope, inputResponses }) {
    if (inputResponses !== undefined) return said('Thank you');
    const { elicitation, sampling } = Envelope.parse(envelope ?? {})[CLIENT_CAPABILITIES_META_KEY] ?? {};
    return ask({
      ...(elicitation !== undefined && { user_name: elicit('name') }),
      ...(sampling !== undefined && { greeting: sample() }),
    });
  },
};

function newServer(): McpServer {
  const server = new McpServer(
    { name: 'rounds', version: '1.0.0' },
    { capabilities: { tools: {}, prompts: {} }, requestState: { verify: (...state) => codec.verify(...state) } },
  );
  for (const [name, run] of Object.entries(TOOLS)) {
    const about = { description: 'Asks for what it needs', inputSchema: z.object({}) };
    server.registerTool(name, about, (_args, { mcpReq }) => run(mcpReq));
  }
  server.registerPrompt(
    'test_input_required_result_prompt',
    { description: 'Asks for what it needs', argsSchema: z.object({}) },
    async (_args, { mcpReq }) => {
      const text = given(mcpReq, 'user_context', 'context');
      if (typeof text !== 'string') return inputRequired({ inputRequests: { user_context: elicit('context') } });
      return { messages: [{ role: 'user', content: { type: 'text', text } }] };
    },
  );
  return server;
}

const guard = localhostHostValidation();
const handle = toNodeHandler(createMcpHandler(() => newServer(), { legacy: 'reject' }));
createServer((request, response) => {
  if (!guard(request, response)) return;
  handle(Object.assign(request, { method: request.method ?? '', url: request.url ?? '/' }), response).catch(() =>
    response.destroy(),
  );
}).listen(Number(process.env['PORT']), '127.0.0.1');
