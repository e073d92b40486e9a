/**
 * The import plan: who may import whom, and which room owns which library. Everything else fails `npm run check:imports`;
 * the comment of each rule says what to do instead. `docs/architecture.md` shows the same plan as a picture.
 */

/** What each room may import of ours, itself aside. `main`, `serve`, `app` and `cli` may import anything. */
const rooms = {
  http: {
    mayImport: ['gateway', 'auth', 'stream', 'telemetry', 'config', 'core'],
    instead: 'Take what you need as a function from app.ts, or move the use case into a corridor in gateway/.',
  },
  gateway: {
    mayImport: ['policy', 'mcp', 'audit', 'network', 'storage', 'telemetry', 'config', 'core'],
    instead: 'A corridor gets its caller as a value: let http/ authenticate and pass the Caller in.',
  },
  auth: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'Peers never know each other: move the shared noun to core/, or take a function as an option from app.ts.',
  },
  policy: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'Peers never know each other: take facts as arguments (ToolFacts) and return a Decision.',
  },
  mcp: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'A tool server knows nothing of callers or records: let the corridor in gateway/ join the rooms.',
  },
  audit: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'The log takes drafts, which are values of core/: let the corridor in gateway/ build them.',
  },
  stream: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'A stream reads what storage committed, and nothing else.',
  },
  network: {
    mayImport: ['storage', 'shared-state', 'telemetry', 'config', 'core'],
    instead: 'The network hands messages out as values: let the corridor in gateway/ join the rooms.',
  },
  'shared-state': {
    mayImport: ['storage', 'telemetry', 'config', 'core'],
    instead: 'Offer a function to the rooms above; do not call up.',
  },
  storage: {
    mayImport: ['telemetry', 'config', 'core'],
    instead: 'Storage is called, it does not call: take what you need as an argument.',
  },
  telemetry: {
    mayImport: ['config', 'core'],
    instead: 'Telemetry is told what happened: add a function for the business event and call that.',
  },
  config: {
    mayImport: ['core'],
    instead: 'Configuration is a value: read it in app.ts and pass the part that is needed.',
  },
  core: { mayImport: [], instead: 'Core holds nouns and pure functions: move what needs a room into that room.' },
};

/** What the folders of mcp/ may import of each other. All may import the files beside them, which say what crosses the room. */
const mcpFolders = {
  protocol: [],
  network: [],
  resilience: ['protocol'],
  tools: ['protocol'],
  credentials: ['network'],
  duplex: ['protocol', 'resilience'],
  stdio: ['credentials', 'duplex'],
  http: ['credentials', 'duplex', 'network', 'protocol', 'resilience'],
  sessions: ['protocol', 'resilience', 'tools'],
};

/** Which folder owns which packages; nobody else imports them, not even their types. */
const owners = [
  {
    library: 'pg',
    packages: 'pg|pg-copy-streams',
    owner: 'src/storage',
    instead: 'Write the query as a function in storage/.',
  },
  {
    library: 'http-server',
    packages: '@fastify/[^/]+|fastify|ws',
    owner: 'src/http',
    instead: 'Only http/ knows HTTP: take plain values and throw a TalosError.',
  },
  {
    library: 'typebox',
    packages: 'typebox',
    owner: '(?:src/http|cli)',
    instead: 'Documents are judged where they come in, in http/ or cli/: take plain values.',
  },
  {
    library: 'mcp-client',
    packages: 'undici|@modelcontextprotocol/[^/]+',
    owner: 'src/mcp',
    instead: 'Ask the Registry of mcp/ for the server; for another kind of outgoing request take a fetch function.',
  },
  { library: 'ajv', packages: 'ajv|ajv-formats', owner: 'src/mcp', instead: "Use a CatalogTool's validate." },
  { library: 'jose', packages: 'jose', owner: 'src/auth', instead: 'Let auth/ turn the token into a Principal.' },
  {
    library: 'libp2p',
    packages: 'libp2p|@libp2p/[^/]+|@chainsafe/[^/]+|@multiformats/[^/]+',
    owner: 'src/network',
    instead: 'Send and receive through network/.',
  },
  {
    library: 'redis',
    packages: 'ioredis|iovalkey|redis|@redis/[^/]+',
    owner: 'src/shared-state',
    instead: 'Add the shared value to shared-state/, with its in-memory form.',
  },
  {
    library: 'telemetry',
    packages: 'pino|prom-client|@opentelemetry/[^/]+',
    owner: 'src/telemetry',
    instead: 'Add one function for the business event to telemetry/; take a Log from there.',
  },
  { library: 'yaml', packages: 'yaml', owner: 'src/config', instead: 'Take the parsed Config.' },
  { library: 'commander', packages: 'commander', owner: 'cli', instead: 'Commands belong in cli/.' },
];

const ours = '^(?:src|cli|verifier|packages|test|bench|scripts|examples)/';

function roomRule([room, { mayImport, instead }]) {
  const allowed = [room, ...mayImport].join('|');
  const list = mayImport.length === 0 ? 'nothing of ours' : `only ${mayImport.join(', ')}`;
  return {
    name: `room-${room}`,
    comment: `${room}/ may import ${list}. ${instead}`,
    severity: 'error',
    from: { path: `^src/${room}/` },
    to: { path: ours, pathNot: `^src/(?:${allowed})/` },
  };
}

function mcpRule([folder, mayImport]) {
  const allowed = [folder, ...mayImport].join('|');
  return {
    name: `mcp-${folder}`,
    comment: `mcp/${folder}/ may import of mcp/'s folders only ${allowed.replaceAll('|', ', ')}. Move the shared noun down, or take a function as an option from mcp/server.ts.`,
    severity: 'error',
    from: { path: `^src/mcp/${folder}/` },
    to: { path: '^src/mcp/[^/]+/', pathNot: `^src/mcp/(?:${allowed})/` },
  };
}

function ownerRule({ library, packages, owner, instead }) {
  return {
    name: `library-${library}`,
    comment: `Only ${owner}/ imports this library. ${instead}`,
    severity: 'error',
    from: { path: '^(?:src|cli|verifier|packages)/', pathNot: `^${owner}/` },
    // Resolved into node_modules, or as it was written when it could not be resolved.
    to: { path: `(?:^|node_modules/)(?:${packages})(?:/|$)`, dependencyTypesNot: ['local', 'core'] },
  };
}

const knownRooms = Object.keys(rooms).join('|');

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...Object.entries(rooms).map(roomRule),
    ...Object.entries(mcpFolders).map(mcpRule),
    ...owners.map(ownerRule),
    {
      name: 'every-folder-is-a-room',
      comment: 'A folder under src/ needs a row in the import plan: add it to `rooms` in .dependency-cruiser.mjs.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^src/(?:${knownRooms})/` },
      to: {},
    },
    {
      name: 'nobody-imports-the-top',
      comment:
        'main, serve and app know everybody and are known by nobody below: take a value or a function as an option.',
      severity: 'error',
      from: { path: '^src/[^/]+/' },
      to: { path: '^(?:src/[^/]+\\.ts$|cli/)' },
    },
    {
      name: 'verifier-stands-alone',
      comment:
        'The verifier runs in browsers and trusts no code of the server: write what it needs in verifier/ itself.',
      severity: 'error',
      from: { path: '^verifier/' },
      to: { pathNot: '^verifier/' },
    },
    {
      name: 'client-stands-alone',
      comment:
        'The stream client is a package without dependencies for browsers and Node.js: write what it needs in the package itself.',
      severity: 'error',
      from: { path: '^packages/' },
      to: { pathNot: '^packages/' },
    },
    {
      name: 'rooms-need-no-client',
      comment: 'The packages are for those who use a gateway; the gateway itself shares nouns through core/.',
      severity: 'error',
      from: { path: '^(?:src|verifier)/' },
      to: { path: '^packages/' },
    },
    {
      name: 'core-does-no-io',
      comment: 'Core computes: do files, sockets, timers and processes in a room and pass the values in.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { dependencyTypes: ['core'], pathNot: '^(?:node:)?(?:crypto|util|buffer)$' },
    },
    {
      name: 'core-needs-no-library',
      comment: 'Core is ours alone: write the few lines, or move the code to the room that owns the library.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: 'node_modules/' },
    },
    {
      name: 'few-start-processes',
      comment:
        'Only stdio tool servers (mcp/), the embedded PostgreSQL (storage/), the command that prints the log key and the command line start processes.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(?:mcp/|storage/embedded/|audit/log-key-command\\.ts)' },
      to: { path: '^(?:node:)?(?:child_process|cluster)$' },
    },
    {
      name: 'no-circular',
      comment:
        'Two modules that need each other are one module, or hide a third: move the shared noun out. Types count.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'Nothing imports this and it imports nothing: use it or delete it.',
      severity: 'error',
      from: { orphan: true, pathNot: '^(?:src/main|cli/talos)\\.ts$' },
      to: {},
    },
    {
      name: 'not-to-unresolvable',
      comment: 'This does not resolve: correct the path (relative imports carry .ts), or install the package.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'not-to-dev-dependency',
      comment: 'An installed gateway has no development dependencies: move the package to `dependencies`.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-dev'] },
    },
    {
      name: 'not-to-undeclared',
      comment: 'The package is here only because another one needs it: add it to package.json.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'not-to-deprecated',
      comment: 'The package or Node module is deprecated: use what its notice names.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['deprecated'] },
    },
    {
      name: 'not-to-tests',
      comment: 'What tests, benchmarks, scripts and examples share with the product lives in src/.',
      severity: 'error',
      from: { path: '^(?:src|cli|verifier|packages)/' },
      to: { path: '^(?:test|bench|scripts|examples)/' },
    },
  ],
  options: {
    // TypeScript 7 has no JavaScript API; swc reads the sources, type-only imports included.
    parser: 'swc',
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^packages/[^/]+/dist/' },
    moduleSystems: ['es6', 'cjs'],
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'require', 'types'],
      extensions: ['.ts', '.mjs', '.js', '.json', '.node'],
    },
    reporterOptions: { text: { highlightFocused: true } },
  },
};
