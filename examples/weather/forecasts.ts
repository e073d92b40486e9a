/** A week of weather for a dozen cities. Made up, and always the same: there is no network behind it. */

export type Condition = 'sunny' | 'partly cloudy' | 'cloudy' | 'rain' | 'thunderstorm' | 'snow' | 'fog';

/** Highest and lowest temperature in °C, probability of precipitation in percent. */
export type Day = readonly [highC: number, lowC: number, precipitationPercent: number, condition: Condition];

export interface City {
  readonly name: string;
  readonly country: string;
  readonly latitude: number;
  readonly longitude: number;
  /** Seven days; the first is today. */
  readonly days: readonly Day[];
}

export const daysMax = 7;

export const cities: readonly City[] = [
  {
    name: 'Berlin',
    country: 'DE',
    latitude: 52.52,
    longitude: 13.41,
    days: [
      [17, 9, 20, 'partly cloudy'],
      [15, 8, 70, 'rain'],
      [14, 7, 55, 'rain'],
      [16, 7, 10, 'cloudy'],
      [19, 9, 0, 'sunny'],
      [21, 11, 5, 'sunny'],
      [18, 11, 45, 'cloudy'],
    ],
  },
  {
    name: 'Cape Town',
    country: 'ZA',
    latitude: -33.92,
    longitude: 18.42,
    days: [
      [21, 13, 0, 'sunny'],
      [22, 13, 0, 'sunny'],
      [19, 12, 30, 'cloudy'],
      [17, 11, 65, 'rain'],
      [18, 11, 20, 'partly cloudy'],
      [20, 12, 5, 'sunny'],
      [22, 13, 0, 'sunny'],
    ],
  },
  {
    name: 'Lisbon',
    country: 'PT',
    latitude: 38.72,
    longitude: -9.14,
    days: [
      [24, 16, 5, 'sunny'],
      [25, 16, 0, 'sunny'],
      [23, 16, 10, 'partly cloudy'],
      [21, 15, 40, 'cloudy'],
      [20, 15, 60, 'rain'],
      [22, 15, 15, 'partly cloudy'],
      [24, 16, 5, 'sunny'],
    ],
  },
  {
    name: 'London',
    country: 'GB',
    latitude: 51.51,
    longitude: -0.13,
    days: [
      [15, 9, 60, 'rain'],
      [14, 9, 50, 'cloudy'],
      [15, 8, 30, 'partly cloudy'],
      [16, 9, 20, 'partly cloudy'],
      [15, 10, 75, 'rain'],
      [13, 9, 80, 'rain'],
      [14, 8, 35, 'fog'],
    ],
  },
  {
    name: 'Mexico City',
    country: 'MX',
    latitude: 19.43,
    longitude: -99.13,
    days: [
      [24, 12, 60, 'thunderstorm'],
      [23, 12, 70, 'thunderstorm'],
      [24, 11, 40, 'partly cloudy'],
      [25, 11, 20, 'sunny'],
      [25, 12, 30, 'partly cloudy'],
      [24, 12, 55, 'thunderstorm'],
      [23, 12, 50, 'rain'],
    ],
  },
  {
    name: 'Mumbai',
    country: 'IN',
    latitude: 19.08,
    longitude: 72.88,
    days: [
      [31, 26, 80, 'rain'],
      [30, 26, 85, 'thunderstorm'],
      [31, 26, 75, 'rain'],
      [32, 27, 50, 'cloudy'],
      [32, 27, 40, 'partly cloudy'],
      [31, 26, 65, 'rain'],
      [31, 26, 70, 'rain'],
    ],
  },
  {
    name: 'Nairobi',
    country: 'KE',
    latitude: -1.29,
    longitude: 36.82,
    days: [
      [25, 14, 15, 'partly cloudy'],
      [26, 14, 10, 'sunny'],
      [26, 15, 10, 'sunny'],
      [24, 14, 45, 'cloudy'],
      [23, 14, 60, 'rain'],
      [24, 14, 30, 'partly cloudy'],
      [25, 14, 15, 'sunny'],
    ],
  },
  {
    name: 'New York',
    country: 'US',
    latitude: 40.71,
    longitude: -74.01,
    days: [
      [20, 13, 10, 'sunny'],
      [22, 14, 5, 'sunny'],
      [23, 15, 25, 'partly cloudy'],
      [19, 13, 70, 'rain'],
      [16, 10, 20, 'cloudy'],
      [17, 9, 5, 'sunny'],
      [18, 10, 10, 'partly cloudy'],
    ],
  },
  {
    name: 'Reykjavík',
    country: 'IS',
    latitude: 64.15,
    longitude: -21.94,
    days: [
      [6, 1, 50, 'cloudy'],
      [5, 0, 65, 'rain'],
      [3, -1, 70, 'snow'],
      [4, -1, 40, 'cloudy'],
      [6, 2, 55, 'rain'],
      [7, 2, 30, 'partly cloudy'],
      [5, 1, 45, 'cloudy'],
    ],
  },
  {
    name: 'São Paulo',
    country: 'BR',
    latitude: -23.55,
    longitude: -46.63,
    days: [
      [26, 17, 30, 'partly cloudy'],
      [28, 18, 20, 'sunny'],
      [29, 19, 55, 'thunderstorm'],
      [24, 17, 75, 'rain'],
      [22, 16, 60, 'rain'],
      [24, 16, 30, 'cloudy'],
      [26, 17, 20, 'partly cloudy'],
    ],
  },
  {
    name: 'Sydney',
    country: 'AU',
    latitude: -33.87,
    longitude: 151.21,
    days: [
      [22, 14, 10, 'sunny'],
      [24, 15, 5, 'sunny'],
      [26, 16, 10, 'sunny'],
      [21, 15, 60, 'rain'],
      [19, 13, 45, 'cloudy'],
      [20, 13, 20, 'partly cloudy'],
      [22, 14, 10, 'sunny'],
    ],
  },
  {
    name: 'Tokyo',
    country: 'JP',
    latitude: 35.68,
    longitude: 139.69,
    days: [
      [22, 15, 30, 'cloudy'],
      [21, 15, 65, 'rain'],
      [20, 14, 70, 'rain'],
      [23, 14, 10, 'sunny'],
      [24, 15, 5, 'sunny'],
      [24, 16, 20, 'partly cloudy'],
      [22, 16, 50, 'rain'],
    ],
  },
  {
    name: 'Zürich',
    country: 'CH',
    latitude: 47.37,
    longitude: 8.54,
    days: [
      [16, 8, 25, 'fog'],
      [18, 9, 10, 'sunny'],
      [19, 10, 5, 'sunny'],
      [17, 10, 50, 'cloudy'],
      [13, 8, 85, 'rain'],
      [12, 6, 60, 'rain'],
      [14, 6, 20, 'partly cloudy'],
    ],
  },
];

/** Finds a city by its name; case, accents and surrounding space do not matter. */
export function findCity(name: string): City | undefined {
  const wanted = folded(name);
  return cities.find((city) => folded(city.name) === wanted);
}

function folded(name: string): string {
  return name.trim().normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}
