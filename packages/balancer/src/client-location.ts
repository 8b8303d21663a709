import type { FastifyRequest } from 'fastify'
import { checkOptions, type Location, Peers, plainAddress, refuse } from '@headgate/core'

/** How clients' places are found without code. What comes first and knows the place is believed. */
export interface ClientLocationOptions {
  /** Fields that a peer in front of this proxy sets. */
  readonly headers?: LocationHeaders
  /** A MaxMind DB file (`.mmdb`) that knows cities, or countries; read anew when it is replaced. @default none */
  readonly database?: string
  /** Where countries are (ISO 3166-1 alpha-2), for sources that know no more than that. @default none */
  readonly countries?: Readonly<Record<string, Location>>
}

export interface LocationHeaders {
  /** Peers whose fields are believed: addresses, networks, or `unix`. Of others they are not read. */
  readonly from: readonly string[]
  /** Names of the fields with degrees: `cf-iplatitude` and `cf-iplongitude`, `x-geo-latitude` … @default none */
  readonly latitude?: string
  readonly longitude?: string
  /** Name of the field with a country: `cf-ipcountry` … @default none */
  readonly country?: string
}

type Find = (request: FastifyRequest) => Location | undefined

/** What is read of a database's records: of MaxMind's own, and of those that others make in its format. */
interface Entry {
  readonly location?: { readonly latitude?: number; readonly longitude?: number }
  readonly latitude?: number
  readonly longitude?: number
  readonly country?: { readonly iso_code?: string }
  readonly country_code?: string
}

/** Clients whose places are kept. */
const KEPT = 10_000

const field = { type: 'string', pattern: '^[A-Za-z0-9-]+$' }
const degrees = (most: number): object => ({ type: 'number', minimum: -most, maximum: most })

const schema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    headers: {
      type: 'object',
      additionalProperties: false,
      required: ['from'],
      properties: {
        from: { type: 'array', minItems: 1, items: { type: 'string' } }, latitude: field, longitude: field, country: field
      } satisfies Record<keyof LocationHeaders, object>
    },
    database: { type: 'string', minLength: 1 },
    countries: {
      type: 'object',
      propertyNames: { pattern: '^[A-Z]{2}$' },
      additionalProperties: {
        type: 'object', additionalProperties: false, required: ['latitude', 'longitude'], properties: { latitude: degrees(90), longitude: degrees(180) }
      }
    }
  } satisfies Record<keyof ClientLocationOptions, object>
}

/** Makes the function that a pool asks. Throws `HG_POOL_INVALID_OPTION`, for a database that cannot be read too. */
export async function clientLocator (options: ClientLocationOptions, path: string): Promise<Find> {
  checkOptions(schema, options, path)
  const { headers, database, countries = {} } = options
  if (headers === undefined && database === undefined) refuse(path, "needs 'headers' or 'database'", options)
  const finders: Find[] = []
  if (headers !== undefined) finders.push(byHeaders(headers, countries, `${path}.headers`))
  if (database !== undefined) finders.push(await byDatabase(database, countries, `${path}.database`))
  const [one, other] = finders as [Find, Find?]
  return other === undefined ? one : (request) => one(request) ?? other(request)
}

function byHeaders ({ from, latitude, longitude, country }: LocationHeaders, countries: Readonly<Record<string, Location>>, path: string): Find {
  if ((latitude === undefined) !== (longitude === undefined)) refuse(path, "needs 'latitude' and 'longitude', or neither", undefined)
  if (latitude === undefined && country === undefined) refuse(path, "needs 'latitude' and 'longitude', or 'country'", undefined)
  const peers = new Peers(from, `${path}.from`)
  const names = [latitude, longitude, country].map((name) => name?.toLowerCase() ?? '')
  return ({ raw }) => {
    if (!peers.has(raw.socket.remoteAddress)) return undefined
    const [north, east, code] = names.map((name) => raw.headers[name])
    // An empty text is no number, whatever Number() says.
    if (typeof north === 'string' && typeof east === 'string' && north.trim() !== '' && east.trim() !== '') {
      const place = { latitude: Number(north), longitude: Number(east) }
      if (Math.abs(place.latitude) <= 90 && Math.abs(place.longitude) <= 180) return place
    }
    return typeof code === 'string' ? placeOf(code, countries) : undefined
  }
}

async function byDatabase (file: string, countries: Readonly<Record<string, Location>>, path: string): Promise<Find> {
  // Loaded where it is wanted only.
  const { open } = await import('maxmind')
  let reader: Awaited<ReturnType<typeof open>>
  const known = new Map<string, Location | undefined>()
  try {
    // We keep places, so that the reader need not keep records.
    reader = await open(file, { watchForUpdates: true, watchForUpdatesNonPersistent: true, watchForUpdatesHook: () => { known.clear() }, cache: { max: 1 } })
  } catch (error) {
    return refuse(path, `must be a MaxMind DB file: ${(error as Error).message}`, file)
  }
  return ({ ip }) => {
    let place = known.get(ip)
    if (place === undefined && !known.has(ip)) {
      place = placeIn(reader.get(plainAddress(ip)) as Entry | null, countries)
      if (known.size >= KEPT) known.clear()
      known.set(ip, place)
    }
    return place
  }
}

function placeIn (entry: Entry | null, countries: Readonly<Record<string, Location>>): Location | undefined {
  const { latitude, longitude } = entry?.location ?? entry ?? {}
  if (latitude !== undefined && longitude !== undefined) return { latitude, longitude }
  return placeOf(entry?.country?.iso_code ?? entry?.country_code ?? '', countries)
}

function placeOf (country: string, countries: Readonly<Record<string, Location>>): Location | undefined {
  const code = country.toUpperCase()
  return Object.hasOwn(countries, code) ? countries[code] : undefined
}
