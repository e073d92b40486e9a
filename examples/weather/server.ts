/**
 * A sample tool server: the weather of a dozen cities, from data that comes with it.
 *
 *   node examples/weather/server.ts                 over stdio
 *   node examples/weather/server.ts --http 9001     Streamable HTTP on 127.0.0.1
 */
import { parseArgs } from 'node:util';
import { type CallToolResult, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import { serve } from '../serve.ts';
import { type City, cities, daysMax, findCity } from './forecasts.ts';

const readOnly = { readOnlyHint: true, idempotentHint: true, openWorldHint: false };

const forecastInput = fromJsonSchema<{ city: string; days?: number }>({
  type: 'object',
  properties: {
    city: { type: 'string', minLength: 1, maxLength: 100, description: 'Name of the city, as list_cities gives it.' },
    days: { type: 'integer', minimum: 1, maximum: daysMax, default: 3, description: 'How many days, today included.' },
  },
  required: ['city'],
  additionalProperties: false,
});

const dayOutput = {
  type: 'object',
  properties: {
    day: { type: 'integer', description: '1 is today.' },
    high_c: { type: 'number', description: 'Highest temperature in °C.' },
    low_c: { type: 'number', description: 'Lowest temperature in °C.' },
    precipitation_percent: { type: 'integer', description: 'Probability of rain or snow.' },
    condition: { type: 'string' },
  },
  required: ['day', 'high_c', 'low_c', 'precipitation_percent', 'condition'],
} as const;

const forecastOutput = fromJsonSchema<Record<string, unknown>>({
  type: 'object',
  properties: { city: { type: 'string' }, country: { type: 'string' }, days: { type: 'array', items: dayOutput } },
  required: ['city', 'country', 'days'],
});

const nothing = fromJsonSchema<Record<string, never>>({ type: 'object', properties: {}, additionalProperties: false });

const citiesOutput = fromJsonSchema<Record<string, unknown>>({
  type: 'object',
  properties: {
    cities: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          name: { type: 'string' },
          country: { type: 'string', description: 'ISO 3166-1 alpha-2.' },
          latitude: { type: 'number' },
          longitude: { type: 'number' },
        },
        required: ['name', 'country', 'latitude', 'longitude'],
      },
    },
  },
  required: ['cities'],
});

function createWeatherServer(): McpServer {
  const server = new McpServer({ name: 'weather', version: '1.0.0' });
  server.registerTool(
    'get_forecast',
    {
      title: 'Weather forecast',
      description: 'The weather of a city for up to seven days. Sample data: the same at every call, and not real.',
      inputSchema: forecastInput,
      outputSchema: forecastOutput,
      annotations: readOnly,
    },
    ({ city, days }) => forecast(city, days ?? 3),
  );
  server.registerTool(
    'list_cities',
    {
      title: 'Known cities',
      description: 'The cities that get_forecast knows, with country and coordinates.',
      inputSchema: nothing,
      outputSchema: citiesOutput,
      annotations: readOnly,
    },
    listCities,
  );
  return server;
}

function forecast(name: string, days: number): CallToolResult {
  const city = findCity(name);
  if (city === undefined) {
    const known = cities.map((known) => known.name).join(', ');
    return {
      content: [{ type: 'text', text: `There is no forecast for that city. Known cities: ${known}.` }],
      isError: true,
    };
  }
  const forecasts = daysOf(city).slice(0, days);
  const lines = forecasts.map(
    (day) =>
      `Day ${day.day}: ${day.condition}, ${day.low_c} to ${day.high_c} °C, ${day.precipitation_percent}% precipitation`,
  );
  return {
    content: [{ type: 'text', text: [`${city.name}, ${city.country}`, ...lines].join('\n') }],
    structuredContent: { city: city.name, country: city.country, days: forecasts },
  };
}

function daysOf(city: City) {
  return city.days.map(([high_c, low_c, precipitation_percent, condition], at) => ({
    day: at + 1,
    high_c,
    low_c,
    precipitation_percent,
    condition,
  }));
}

function listCities(): CallToolResult {
  const listed = cities.map(({ name, country, latitude, longitude }) => ({ name, country, latitude, longitude }));
  return {
    content: [{ type: 'text', text: listed.map(({ name, country }) => `${name}, ${country}`).join('\n') }],
    structuredContent: { cities: listed },
  };
}

const { values } = parseArgs({ options: { http: { type: 'string' } } });
await serve(createWeatherServer, { httpPort: values.http === undefined ? undefined : Number(values.http) });
