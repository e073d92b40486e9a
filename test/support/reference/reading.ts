/** Resources, prompts and completion of the reference server. Their names are the conformance suite's. */
import { type ContentBlock, type McpServer, ResourceTemplate } from '@modelcontextprotocol/server';
import { pixelPng } from './media.ts';
import { type Switches, schemaOf, text } from './tools.ts';

export function registerReading(server: McpServer, switches: Switches): void {
  registerResources(server);
  registerPrompts(server);
  if (switches.hasExtraPrompt()) {
    server.registerPrompt('test_extra_prompt', { description: 'Comes and goes' }, () => fromUser(text('extra')));
  }
  server.server.registerCapabilities({ completions: {} });
  server.server.setRequestHandler('completion/complete', ({ params }) => ({
    completion: { values: ['paris', 'park', 'party', 'test'].filter((word) => word.startsWith(params.argument.value)) },
  }));
}

function registerResources(server: McpServer): void {
  const textual = (name: string, uri: string, said: string) =>
    server.registerResource(name, uri, { description: name, mimeType: 'text/plain' }, () => ({
      contents: [{ uri, mimeType: 'text/plain', text: said }],
    }));
  textual('A static text', 'test://static-text', 'This is the content of the static text resource.');
  textual('A watched text', 'test://watched-resource', 'Whoever subscribed hears of changes.');
  const binary = 'test://static-binary';
  server.registerResource('A static image', binary, { description: 'A pixel', mimeType: 'image/png' }, () => ({
    contents: [{ uri: binary, mimeType: 'image/png', blob: pixelPng }],
  }));
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  server.registerResource('Data by id', template, { mimeType: 'application/json' }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true }) }],
  }));
}

function registerPrompts(server: McpServer): void {
  server.registerPrompt('test_simple_prompt', { description: 'Says one thing' }, () =>
    fromUser(text('This is a simple prompt for testing.')),
  );
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'Says its arguments', argsSchema: strings<'arg1' | 'arg2'>('arg1', 'arg2') },
    ({ arg1, arg2 }) => fromUser(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'Embeds a resource', argsSchema: strings<'resourceUri'>('resourceUri') },
    ({ resourceUri }) =>
      fromUser(
        {
          type: 'resource',
          resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
        },
        text('Please process the embedded resource above.'),
      ),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'Shows a pixel' }, () =>
    fromUser({ type: 'image', data: pixelPng, mimeType: 'image/png' }, text('Please analyze the image above.')),
  );
}

function fromUser(...contents: readonly ContentBlock[]) {
  return { messages: contents.map((content) => ({ role: 'user' as const, content })) };
}

function strings<Name extends string>(...names: readonly Name[]) {
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
  return schemaOf<Record<Name, string>>({ type: 'object', properties, required: [...names] });
}
