/**
 * Tools and a prompt of the reference server that ask the client something before they answer: in the era of sessions by
 * requests of their own, in the stateless era by results that require input.
 */
import {
  acceptedContent,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  type ElicitRequestFormParams,
  type InputRequest,
  inputRequired,
  inputResponse,
  type McpServer,
  type RequestStateCodec,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { says, schemaOf, text } from './tools.ts';

export type State = { readonly step: string };

export function registerQuestions(server: McpServer, states: RequestStateCodec<State>): void {
  registerSessionQuestions(server);
  registerSingleQuestions(server);
  registerStatefulQuestions(server, states);
  registerCapabilityQuestions(server);
  registerAskingPrompt(server);
}

/** Servers of the session era ask in the middle of a call and wait for the answer. */
function registerSessionQuestions(server: McpServer): void {
  const asking = (name: string, params: (args: Record<string, unknown>) => ElicitRequestFormParams, said: string) =>
    server.registerTool(
      name,
      { description: 'Asks the user', inputSchema: schemaOf({ type: 'object' }) },
      async (args, ctx) => {
        const { action, content } = await ctx.mcpReq.elicitInput(params(args));
        return says(`${said}: action=${action}, content=${JSON.stringify(content ?? {})}`);
      },
    );
  asking('test_elicitation', userForm, 'User response');
  asking('test_elicitation_sep1034_defaults', () => defaultsForm, 'Elicitation completed');
  asking('test_elicitation_sep1330_enums', () => enumsForm, 'Elicitation completed');
  const inputSchema = schemaOf<{ prompt: string }>({
    type: 'object',
    properties: { prompt: { type: 'string' } },
    required: ['prompt'],
  });
  server.registerTool('test_sampling', { description: "Asks the client's model", inputSchema }, async (args, ctx) => {
    const message = { role: 'user' as const, content: text(args.prompt) };
    const { content } = await ctx.mcpReq.requestSampling({ messages: [message], maxTokens: 100 });
    return says(`LLM response: ${'text' in content ? content.text : JSON.stringify(content)}`);
  });
}

function registerSingleQuestions(server: McpServer): void {
  const question = (
    name: string,
    key: string,
    request: InputRequest,
    answered: (ctx: ServerContext) => string | undefined,
  ) =>
    server.registerTool(name, { description: 'Needs input' }, (ctx) => {
      const said = answered(ctx);
      return said === undefined ? inputRequired({ inputRequests: { [key]: request } }) : says(said);
    });
  question('test_input_required_result_elicitation', 'user_name', askName('What is your name?'), (ctx) => {
    const name = acceptedContent(ctx.mcpReq.inputResponses, 'user_name')?.['name'];
    return typeof name === 'string' ? `Hello, ${name}!` : undefined;
  });
  question(
    'test_input_required_result_sampling',
    'capital_question',
    askModel('What is the capital of France?'),
    (ctx) => {
      const view = inputResponse(ctx.mcpReq.inputResponses, 'capital_question');
      return view.kind === 'sampling' ? JSON.stringify(view.result.content) : undefined;
    },
  );
  question('test_input_required_result_list_roots', 'client_roots', inputRequired.listRoots(), (ctx) => {
    const view = inputResponse(ctx.mcpReq.inputResponses, 'client_roots');
    return view.kind === 'roots' ? view.roots.map(({ uri }) => uri).join(' ') : undefined;
  });
  question('test_streaming_elicitation', 'confirm', askOk('Shall it go on?'), (ctx) =>
    acceptedContent(ctx.mcpReq.inputResponses, 'confirm') === undefined ? undefined : 'Went on.',
  );
}

/** Each round carries state that was sealed in the round before; what was altered never reaches a handler. */
function registerStatefulQuestions(server: McpServer, states: RequestStateCodec<State>): void {
  const askIn = async (step: string, inputRequests: Record<string, InputRequest>) =>
    inputRequired({ inputRequests, requestState: await states.mint({ step }) });
  const stepOf = (ctx: ServerContext) => ctx.mcpReq.requestState<State>()?.step;
  for (const name of ['test_input_required_result_request_state', 'test_input_required_result_tampered_state']) {
    server.registerTool(name, { description: 'Carries state' }, (ctx) =>
      stepOf(ctx) === 'asked' ? says('state-ok') : askIn('asked', { confirm: askOk('Please confirm') }),
    );
  }
  server.registerTool('test_input_required_result_multiple_inputs', { description: 'Asks three things' }, (ctx) => {
    const keys = ['user_name', 'greeting', 'client_roots'];
    const isAnswered = keys.every((key) => inputResponse(ctx.mcpReq.inputResponses, key).kind !== 'missing');
    if (stepOf(ctx) === 'asked' && isAnswered) return says('All three were answered.');
    return askIn('asked', {
      user_name: askName('What is your name?'),
      greeting: askModel('Generate a greeting', 50),
      client_roots: inputRequired.listRoots(),
    });
  });
  server.registerTool('test_input_required_result_multi_round', { description: 'Asks twice' }, (ctx) => {
    const step = stepOf(ctx);
    if (step === undefined) return askIn('named', { step1: askName('Step 1: What is your name?') });
    if (step === 'named') return askIn('coloured', { step2: askText('Step 2: What is your favorite color?', 'color') });
    return says('Both were answered.');
  });
}

function registerCapabilityQuestions(server: McpServer): void {
  server.registerTool('test_missing_capability', { description: "Needs the client's model" }, () =>
    inputRequired({ inputRequests: { question: askModel('Is anybody there?') } }),
  );
  server.registerTool('test_input_required_result_capabilities', { description: 'Asks what it may' }, (ctx) => {
    const envelope: Partial<Record<string, unknown>> = ctx.mcpReq.envelope ?? {};
    const declared = (envelope[CLIENT_CAPABILITIES_META_KEY] ?? {}) as ClientCapabilities;
    return inputRequired({
      inputRequests: {
        ...(declared.sampling === undefined ? {} : { greeting: askModel('Generate a greeting') }),
        ...(declared.elicitation === undefined ? {} : { user_name: askName('What is your name?') }),
      },
    });
  });
}

function registerAskingPrompt(server: McpServer): void {
  server.registerPrompt('test_input_required_result_prompt', { description: 'Needs input' }, (ctx) => {
    const context = acceptedContent(ctx.mcpReq.inputResponses, 'user_context')?.['context'];
    if (typeof context !== 'string') {
      const question = askText('What context should the prompt use?', 'context');
      return inputRequired({ inputRequests: { user_context: question } });
    }
    return { messages: [{ role: 'user', content: text(`In this context: ${context}`) }] };
  });
}

function askText(message: string, key: string): InputRequest {
  return inputRequired.elicit({
    message,
    requestedSchema: { type: 'object', properties: { [key]: { type: 'string' } }, required: [key] },
  });
}

function askName(message: string): InputRequest {
  return askText(message, 'name');
}

function askOk(message: string): InputRequest {
  return inputRequired.elicit({
    message,
    requestedSchema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
  });
}

function askModel(question: string, maxTokens = 100): InputRequest {
  return inputRequired.createMessage({ messages: [{ role: 'user', content: text(question) }], maxTokens });
}

function userForm({ message }: Record<string, unknown>): ElicitRequestFormParams {
  return {
    mode: 'form',
    message: String(message),
    requestedSchema: {
      type: 'object',
      properties: {
        username: { type: 'string', description: "User's response" },
        email: { type: 'string', description: "User's email address" },
      },
      required: ['username', 'email'],
    },
  };
}

const defaultsForm: ElicitRequestFormParams = {
  mode: 'form',
  message: 'Please review what is filled in',
  requestedSchema: {
    type: 'object',
    properties: {
      name: { type: 'string', default: 'John Doe' },
      age: { type: 'integer', default: 30 },
      score: { type: 'number', default: 95.5 },
      status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
      verified: { type: 'boolean', default: true },
    },
  },
};

const options = ['option1', 'option2', 'option3'];
const titled = [
  { const: 'value1', title: 'First' },
  { const: 'value2', title: 'Second' },
  { const: 'value3', title: 'Third' },
];

const enumsForm: ElicitRequestFormParams = {
  mode: 'form',
  message: 'Please choose',
  requestedSchema: {
    type: 'object',
    properties: {
      untitledSingle: { type: 'string', enum: options },
      titledSingle: { type: 'string', oneOf: titled },
      legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['One', 'Two', 'Three'] },
      untitledMulti: { type: 'array', items: { type: 'string', enum: options } },
      titledMulti: { type: 'array', items: { anyOf: titled } },
    },
  },
};
