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
const cases = {}
for (const [name, path] of [['JSON 2 KB', '/2k'], ['JSON 20 KB', '/20k'], ['HTML 60 KB', '/60k']]) {
  for (const encoding of ['br', 'gzip']) cases[`${name}, ${encoding}`] = { path, headers: { 'Accept-Encoding': encoding }, ...(encoding === 'br' && { only: ['headgate compress', '@fastify/compress'] }) }
}
// Equal levels: brotli 4, gzip 6, which are both plugins' defaults or near them.
const levels = { brotliOptions: { params: { 1: 4 } }, zlibOptions: { level: 6 } }

export default {
  order: 80,
  name: 'compress',
  title: 'Compression of answers',
  text: '`@headgate/compress` and `@fastify/compress` before a route that sends a Buffer, brotli at quality 4 and gzip at level 6; nginx gzip at level 6 before the same route.',
  base: '@fastify/compress',
  cases,
  targets: {
    'headgate compress': ({ node }) => node({ kind: 'file', bodies, features: ['compress'], compress: { encodings: ['br', 'gzip'], levels: { br: { dynamic: 4, static: 4 }, gzip: { dynamic: 6, static: 6 } } } }),
    '@fastify/compress': ({ node }) => node({ kind: 'file', bodies, features: ['@fastify/compress'], compress: { ...levels, threshold: 1024 } }),
    'nginx gzip': async ({ node, startNginx }) => {
      const origin = await node({ kind: 'file', bodies })
      return startNginx([origin.port], { http: 'gzip on; gzip_comp_level 6; gzip_types application/json; gzip_proxied any; gzip_min_length 1024;' })
    }
  },
  expect: Object.keys(cases).flatMap((name) => [
    { what: 'headgate compress', of: '@fastify/compress', case: name, atMost: 0.67 },
    ...(name.endsWith('gzip') ? [{ what: 'headgate compress', of: 'nginx gzip', case: name, atMost: 1.15 }] : [])
  ])
}
