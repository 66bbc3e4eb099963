/** docs/openapi.yaml as a judge: what it documents, and what is wrong with an answer by it. */

import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { parse } from 'yaml';
import { z } from 'zod';

const FILE = new URL('../../docs/openapi.yaml', import.meta.url);
const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

const CONTENT = z.record(z.string(), z.unknown());
const ANSWER = z.union([z.object({ $ref: z.string() }), z.object({ content: CONTENT })]);
const OPERATION = z.object({ operationId: z.string(), responses: z.record(z.string(), ANSWER) });
const DOCUMENT = z.object({
  paths: z.record(z.string(), z.partialRecord(z.enum([...METHODS, 'parameters']), z.unknown())),
  components: z.object({ responses: z.record(z.string(), z.object({ content: CONTENT })) }),
});

export type Answer = { readonly status: number; readonly type: string; readonly body: string };

export type OpenApi = {
  /** As in `GET /backends/{id}`. */
  readonly operations: readonly string[];
  /** As in `GET /backends/{id} 200`. */
  readonly answers: readonly string[];
  /** What is wrong with an answer to this operation; undefined when it is as documented. */
  readonly fault: (operation: string, answer: Answer) => string | undefined;
};

/** Throws when the file is no valid OpenAPI 3.1. */
export async function readOpenApi(): Promise<OpenApi> {
  const raw: unknown = parse(readFileSync(FILE, 'utf8'));
  const { valid, errors } = await new Validator().validate(structuredClone(z.record(z.string(), z.any()).parse(raw)));
  if (!valid) throw new Error(`docs/openapi.yaml: ${JSON.stringify(errors)}`);
  const { paths, components } = DOCUMENT.parse(raw);
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(z.record(z.string(), z.unknown()).parse(raw), 'openapi');

  const known = new Map<string, ReadonlyMap<string, string>>();
  for (const [path, item] of Object.entries(paths)) {
    for (const method of METHODS) {
      if (item[method] === undefined) continue;
      const { responses } = OPERATION.parse(item[method]);
      const at = ['paths', path, method, 'responses'];
      const pointers = Object.entries(responses).map(([status, answer]): [string, string] => [
        status,
        '$ref' in answer ? answer.$ref : pointer([...at, status]),
      ]);
      known.set(`${method.toUpperCase()} ${path}`, new Map(pointers));
    }
  }
  const contentAt = (where: string, operation: string, status: string): Record<string, unknown> => {
    const name = /^#\/components\/responses\/(.+)$/.exec(where)?.[1];
    if (name !== undefined) return components.responses[name]?.content ?? {};
    const [method = '', path = ''] = operation.split(' ');
    const item = z.record(z.string(), z.unknown()).parse(paths[path]);
    const answer = OPERATION.parse(item[method.toLowerCase()]).responses[status];
    return answer !== undefined && 'content' in answer ? answer.content : {};
  };

  return {
    operations: [...known.keys()],
    answers: [...known].flatMap(([operation, statuses]) => [...statuses.keys()].map((one) => `${operation} ${one}`)),
    fault(operation, { status, type, body }) {
      const where = known.get(operation)?.get(String(status));
      if (where === undefined) return `${operation} ${status} is not documented`;
      const media = type.split(';')[0] ?? '';
      if (!(media in contentAt(where, operation, String(status))))
        return `${operation} ${status}: ${media} is not documented`;
      const validate = ajv.getSchema(`openapi${where}${pointer(['content', media, 'schema']).slice(1)}`);
      if (validate === undefined) return `${operation} ${status} has no schema`;
      const said: unknown = media === 'application/json' ? JSON.parse(body) : body;
      return validate(said) === true
        ? undefined
        : `${operation} ${status}: ${ajv.errorsText(validate.errors)}: ${body}`;
    },
  };
}

/** A JSON pointer as a URI fragment (RFC 6901, section 6). */
function pointer(parts: readonly string[]): string {
  return `#/${parts.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
}
