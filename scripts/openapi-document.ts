/** The OpenAPI document of the gateway, made from its routes alone: no database, no tool server, no port. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type RouteDeps, registerRoutes } from '../src/http/routes/index.ts';
import { createServer } from '../src/http/server.ts';
import { createTelemetry } from '../src/telemetry/telemetry.ts';

/** Where the document is kept in the repository. */
export const openApiFile = fileURLToPath(new URL('../openapi.json', import.meta.url));

/** The document as the file holds it. */
export async function openApiText(): Promise<string> {
  const app = await createServer({
    telemetry: createTelemetry({ level: 'silent' }),
    region: 'local',
    development: false,
    corsOrigins: [],
    trustedProxies: [],
    tls: undefined,
    isShuttingDown: () => false,
    failureOf: async (thrown) => thrown,
  });
  await registerRoutes(app, inert);
  await app.ready();
  const text = `${JSON.stringify(app.swagger(), null, 2)}\n`;
  await app.close();
  return text;
}

export function readOpenApiFile(): string {
  return readFileSync(openApiFile, 'utf8');
}

// Routes touch what they depend on when they are asked something, and here nobody asks.
const inert = new Proxy({} as RouteDeps, { get: () => undefined });
