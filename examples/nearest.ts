// Each client is served by the site that is nearest to it: by what the CDN in front says, else by a database of countries.
import { fileURLToPath } from 'node:url'
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

const database = fileURLToPath(import.meta.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb'))
const frankfurt = { latitude: 50.1, longitude: 8.7 }
const tokyo = { latitude: 35.7, longitude: 139.7 }

export async function build (options: { frankfurt: string[]; tokyo: string[]; cdn: string[] }): Promise<FastifyInstance> {
  // `request.ip` is the client, not the CDN.
  const app = fastify({ trustProxy: options.cdn })
  await app.register(balancer, {
    pools: {
      web: {
        upstreams: [
          ...options.frankfurt.map((url) => ({ url, zone: 'eu', location: frankfurt })),
          ...options.tokyo.map((url) => ({ url, zone: 'asia', location: tokyo }))
        ],
        policy: 'nearest',
        policyOptions: { location: frankfurt },
        clientLocation: {
          headers: { from: options.cdn, country: 'cf-ipcountry' },
          database,
          countries: { DE: frankfurt, FR: { latitude: 46.6, longitude: 2.5 }, JP: tokyo, KR: { latitude: 36.4, longitude: 127.9 } }
        }
      }
    },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  return app
}
