const KINDS = { '/1k': { size: 1024 }, '/10k': { size: 10_240 }, '/100k': { size: 102_400 } }
const bodies = Object.fromEntries(Object.entries(KINDS).map(([path, { size }]) => [path, { size, type: 'application/json' }]))
const nginxCache = {
  http: 'proxy_cache_path FOLDER/cache levels=1:2 keys_zone=zone:10m max_size=1g inactive=60m;',
  location: 'proxy_cache zone; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;'
}
const notModified = (path) => ({ path, headers: { 'If-None-Match': '"x"' }, expected: 304 })

export default {
  order: 70,
  name: 'cache',
  title: 'Cache hits',
  text: '`@headgate/cache` before a route that sends a Buffer of 1, 10 and 100 KB with an entity tag, beside the same route without a cache, and nginx `proxy_cache` before a Fastify app with those routes. What the plain route costs is the floor of a hit, which passes the same server and router; for the 304 it is a route that compares the tag by itself and sends nothing else. ‘node:http’ is Node’s HTTP server without a router, which sends the same.',
  remarks: 'At 1 and 10 KB a hit costs less than what Node’s HTTP server costs without a router, a check or a cache, as head and body are kept as one piece of memory, and the short hits of one turn of the event loop are written one after the other at its end; a 304 costs as much as there or a little more, and so do 100 KB. What that server alone takes beside nginx is the floor for all that runs in it, and differs from one machine to the next. nginx sends a file from the kernel’s memory without a copy, which counts at 100 KB.',
  base: 'nginx proxy_cache',
  cases: {
    '1 KB': { path: '/1k' },
    '10 KB': { path: '/10k' },
    '100 KB': { path: '/100k' },
    304: notModified('/1k')
  },
  targets: {
    'headgate cache': ({ node }) => node({ kind: 'file', bodies, features: ['cache'] }),
    'plain route': ({ node }) => node({ kind: 'file', bodies }),
    'node:http': ({ node }) => node({ kind: 'node-http', bodies }),
    'nginx proxy_cache': async ({ node, startNginx }) => {
      const origin = await node({ kind: 'file', bodies })
      return startNginx([origin.port], nginxCache)
    }
  },
  expect: [
    { what: 'headgate cache', of: 'nginx proxy_cache', case: '1 KB', atMost: 1 },
    { what: 'headgate cache', of: 'nginx proxy_cache', case: '10 KB', atMost: 1 },
    { what: 'headgate cache', of: 'nginx proxy_cache', case: '304', atMost: 1 },
    { what: 'headgate cache', of: 'nginx proxy_cache', case: '100 KB', atMost: 1.3 },
    ...['1 KB', '10 KB', '100 KB'].map((name) => ({ what: 'headgate cache', of: 'plain route', case: name, atMost: 1.15 }))
  ]
}
