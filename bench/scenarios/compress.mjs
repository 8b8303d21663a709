import zlib from 'node:zlib'

const item = (i) => ({ id: i, name: `Item number ${i}`, price: (i * 37) % 1000 / 10, tags: ['new', 'sale', i % 2 ? 'red' : 'blue'], stock: i * 7 % 93 })
const json = (size) => {
  const items = []
  for (let i = 0; JSON.stringify(items).length < size; i++) items.push(item(i))
  return JSON.stringify(items)
}
const html = `<!doctype html><html><head><title>List</title></head><body><table>${Array.from({ length: 1400 }, (_, i) => `<tr><td>${i}</td><td>Item number ${i}</td><td>${(i * 37) % 1000 / 10}</td></tr>`).join('')}</table></body></html>`.slice(0, 61_440)
const bodies = {
  '/2k': { text: json(2048), type: 'application/json' },
  '/20k': { text: json(20_480), type: 'application/json' },
  '/60k': { text: html, type: 'text/html; charset=utf-8' }
}
/** nginx has no module for the others in Debian. */
const PLUGINS = ['headgate compress', '@fastify/compress']
const ENCODINGS = ['br', 'gzip', 'zstd']
const cases = {}
const names = []
for (const [name, path] of [['JSON 2 KB', '/2k'], ['JSON 20 KB', '/20k'], ['HTML 60 KB', '/60k']]) {
  for (const encoding of ENCODINGS) {
    names.push(`${name}, ${encoding}`)
    // A feature of Node since 22.15.
    if (encoding === 'zstd' && zlib.createZstdCompress === undefined) continue
    cases[`${name}, ${encoding}`] = { path, headers: { 'Accept-Encoding': encoding }, ...(encoding !== 'gzip' && { only: PLUGINS }) }
  }
}
// Equal levels: brotli 4, gzip 6, zstd 3, which are both plugins' defaults or near them.
const levels = { brotliOptions: { params: { 1: 4 } }, zlibOptions: { level: 6 } }

export default {
  order: 80,
  name: 'compress',
  title: 'Compression of answers',
  text: '`@headgate/compress` and `@fastify/compress` before a route that sends a Buffer, brotli at quality 4, gzip at level 6, zstd at level 3 where Node has it (since 22.15); nginx gzip at level 6 before the same route.',
  remarks: 'This run was made with Node 20, which has no zstd. With Node 24, three rounds on the same machine, headgate compress took 0.35 (0.34–0.35), 0.28 (0.27–0.30) and 0.26 (0.25–0.26) × @fastify/compress for JSON of 2 and 20 KB and HTML of 60 KB.',
  base: '@fastify/compress',
  cases,
  targets: {
    'headgate compress': ({ node }) => node({ kind: 'file', bodies, features: ['compress'], compress: { encodings: ENCODINGS.filter((encoding) => encoding !== 'zstd' || zlib.createZstdCompress !== undefined), levels: { br: { dynamic: 4, static: 4 }, gzip: { dynamic: 6, static: 6 }, zstd: { dynamic: 3, static: 3 } } } }),
    '@fastify/compress': ({ node }) => node({ kind: 'file', bodies, features: ['@fastify/compress'], compress: { ...levels, threshold: 1024 } }),
    'nginx gzip': async ({ node, startNginx }) => {
      const origin = await node({ kind: 'file', bodies })
      return startNginx([origin.port], { http: 'gzip on; gzip_comp_level 6; gzip_types application/json; gzip_proxied any; gzip_min_length 1024;' })
    }
  },
  expect: names.flatMap((name) => [
    { what: 'headgate compress', of: '@fastify/compress', case: name, atMost: 0.67 },
    ...(name.endsWith('gzip') ? [{ what: 'headgate compress', of: 'nginx gzip', case: name, atMost: 1.15 }] : [])
  ])
}
