/** The second port: health for orchestrators, and all else for operators only. */

import express, { type Express, type NextFunction, type Request, type Response, type Router } from 'express';
import { SessionsUnavailable } from './contract.ts';
import { newGuesses } from './ops/guesses.ts';
import { type OperatorRules, onlyOperators } from './ops/operators.ts';

/**
 * An Express app with `GET /healthz` (200 while the process serves) and `/readyz` (200 or 503, by `ready()`) for
 * everybody; then, for operators (`onlyOperators`), `/metrics` (the text of `metrics()`) and the routers. Anything else
 * is a JSON 404, 503 while the registry cannot be reached, and a failure is a 500 that tells nothing.
 */
export function createOps(options: {
  metrics: () => Promise<string>;
  contentType: string;
  /** Asked on each request: whether new exchanges should come here. */
  ready: () => boolean;
  /** What else can be asked and ordered here, each asked in turn. */
  routers: readonly Router[];
  rules: OperatorRules;
}): Express {
  const app = express();
  app.disable('x-powered-by').disable('etag');
  app.use((_request, response, next) => {
    response.setHeader('Cache-Control', 'no-store');
    next();
  });
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.get('/readyz', (_request, response) => {
    if (options.ready()) response.json({ status: 'ready' });
    else response.status(503).json({ status: 'unavailable', reason: 'new exchanges are not taken now' });
  });
  app.use(
    onlyOperators(
      options.rules,
      newGuesses(() => performance.now()),
    ),
  );
  app.get('/metrics', async (_request, response) => {
    let text: string;
    try {
      text = await options.metrics();
    } catch {
      response.status(500).json({ error: 'metrics are not available' });
      return;
    }
    response.setHeader('Content-Type', options.contentType);
    response.end(text);
  });
  for (const router of options.routers) app.use(router);
  app.use((_request, response) => {
    response.status(404).json({ error: 'not found' });
  });
  // Express's own answer would show the stack.
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent) return next(error);
    if (error instanceof SessionsUnavailable) {
      response.status(503).set('Retry-After', '1').json({ error: 'the registry cannot be reached, try again' });
    } else if (error instanceof URIError) response.status(400).json({ error: 'the path cannot be read' });
    else response.status(500).json({ error: 'internal error' });
    return undefined;
  });
  return app;
}
