/** Tools of the reference server that answer at once, or tell of their progress. Their names are the conformance suite's. */
import { fromJsonSchema, type JsonSchemaType, type McpServer, type RegisteredTool } from '@modelcontextprotocol/server';
import { pixelPng, silentWav } from './media.ts';

/** What tools change about the server itself. */
export interface Switches {
  readonly toggleTool: () => void;
  readonly togglePrompt: () => void;
  readonly hasExtraTool: () => boolean;
  readonly hasExtraPrompt: () => boolean;
}

export function schemaOf<T = Record<string, unknown>>(schema: object) {
  return fromJsonSchema<T>(schema as JsonSchemaType);
}

export const text = (said: string) => ({ type: 'text' as const, text: said });
export const says = (said: string) => ({ content: [text(said)] });

/** The tool that comes and goes, of servers that outlive a request. */
const extras = new WeakMap<McpServer, RegisteredTool>();

/** Its clients are told. */
export function switchExtra(server: McpServer, isThere: boolean): void {
  extras.get(server)?.update({ enabled: isThere });
}

export function registerTools(server: McpServer, switches: Switches): void {
  registerContentTools(server);
  registerTalkativeTools(server);
  server.registerTool('test_trigger_tool_change', { description: 'Adds a tool, or takes it away' }, () => {
    switches.toggleTool();
    return says('The list of tools has changed.');
  });
  server.registerTool('test_trigger_prompt_change', { description: 'Adds a prompt, or takes it away' }, () => {
    switches.togglePrompt();
    return says('The list of prompts has changed.');
  });
  server.registerTool(
    'json_schema_2020_12_tool',
    { description: 'A schema of the 2020-12 vocabulary', inputSchema: schemaOf(schema202012) },
    (args) => says(JSON.stringify(args)),
  );
  server.registerTool(
    'test_header_argument',
    { description: 'Has an argument that is sent in a header as well', inputSchema: schemaOf(headerSchema) },
    (args) => says(JSON.stringify(args)),
  );
  const extra = server.registerTool('test_extra', { description: 'Comes and goes' }, () => says('extra'));
  if (!switches.hasExtraTool()) extra.disable();
  extras.set(server, extra);
}

function registerContentTools(server: McpServer): void {
  const image = { type: 'image' as const, data: pixelPng, mimeType: 'image/png' };
  const resource = (uri: string, mimeType: string, said: string) => ({
    type: 'resource' as const,
    resource: { uri, mimeType, text: said },
  });
  const mixed = resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}');
  const answers = {
    test_simple_text: [text('This is a simple text response for testing.')],
    test_image_content: [image],
    test_audio_content: [{ type: 'audio' as const, data: silentWav, mimeType: 'audio/wav' }],
    test_embedded_resource: [
      resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'),
    ],
    test_multiple_content_types: [text('Multiple content types test:'), image, mixed],
  };
  for (const [name, content] of Object.entries(answers)) {
    server.registerTool(name, { description: `Answers with ${content.map(({ type }) => type).join(', ')}` }, () => ({
      content,
    }));
  }
  server.registerTool('test_error_handling', { description: 'Fails' }, () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
}

function registerTalkativeTools(server: McpServer): void {
  server.registerTool('test_tool_with_logging', { description: 'Logs three messages' }, async (ctx) => {
    for (const message of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await ctx.mcpReq.log('info', message);
    }
    return says('Logged three messages.');
  });
  server.registerTool('test_logging_tool', { description: 'Logs one message' }, async (ctx) => {
    await ctx.mcpReq.log('info', 'For whoever asked for log messages');
    return says('Logged.');
  });
  server.registerTool('test_tool_with_progress', { description: 'Tells of its progress' }, async (ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      await ctx.mcpReq.notify({
        method: 'notifications/progress',
        params: { progressToken, progress, total: 100 },
      });
    }
    return says('Done.');
  });
  server.registerTool('test_reconnection', { description: 'Ends its stream before it answers' }, (ctx) => {
    ctx.http?.closeSSE?.();
    return says('The answer came after the stream was resumed.');
  });
}

const headerSchema = {
  type: 'object',
  properties: { region: { type: 'string', 'x-mcp-header': 'Region' } },
};

const schema202012 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: {
    address: {
      $anchor: 'addressDef',
      type: 'object',
      properties: { street: { type: 'string' }, city: { type: 'string' } },
    },
  },
  properties: {
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};
