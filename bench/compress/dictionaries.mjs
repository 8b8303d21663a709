// Bytes of a new version of published packages for who has the former: `node bench/compress/dictionaries.mjs`, with a Node that
// can encode with dictionaries (24; zstd alone from 22.19 on).
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createHash } from 'node:crypto'
import compress from '@headgate/compress'
import fastify from 'fastify'

const require = createRequire(import.meta.url)
const file = (name, path) => readFileSync(join(dirname(require.resolve(`${name}/package.json`)), path))
const pairs = [
  { name: 'react-dom 18.2.0 → 18.3.1, production', before: file('react-dom-18-2', 'umd/react-dom.production.min.js'), after: file('react-dom-18-3', 'umd/react-dom.production.min.js') },
  { name: 'react-dom 18.2.0 → 18.3.1, development', before: file('react-dom-18-2', 'umd/react-dom.development.js'), after: file('react-dom-18-3', 'umd/react-dom.development.js') },
  { name: 'lodash 4.17.20 → current, minified', before: file('lodash-4-17-20', 'lodash.min.js'), after: file('lodash', 'lodash.min.js') },
  { name: 'lodash 4.17.20 → current', before: file('lodash-4-17-20', 'lodash.js'), after: file('lodash', 'lodash.js') }
]
const app = fastify()
await app.register(compress, { dictionaries: { match: ['/asset-*.js'] }, load: false })
for (const [index, { before, after }] of pairs.entries()) {
  for (const [path, body] of Object.entries({ [`/asset-${index}-before.js`]: before, [`/asset-${index}-after.js`]: after })) {
    app.get(path, (_request, reply) => reply.type('text/javascript').header('cache-control', 'public, max-age=3600').send(body))
  }
}
const bytes = async (url, wanted, dictionary) => {
  const headers = { 'accept-encoding': `${wanted}, gzip;q=0.1`, ...dictionary && { 'available-dictionary': `:${createHash('sha256').update(dictionary).digest('base64')}:` } }
  const { headers: { 'content-encoding': coding }, rawPayload } = await app.inject({ url, headers })
  return coding === wanted ? rawPayload.length : undefined
}
console.log(`Node ${process.version}\n\n| asset | plain | gzip | br | zstd | dcb | dcz |\n|---|---|---|---|---|---|---|`)
for (const [index, { name, before, after }] of pairs.entries()) {
  await bytes(`/asset-${index}-before.js`, 'gzip')
  const cells = []
  for (const coding of ['gzip', 'br', 'zstd', 'dcb', 'dcz']) cells.push(await bytes(`/asset-${index}-after.js`, coding, before) ?? '–')
  console.log(`| ${name} | ${after.length} | ${cells.join(' | ')} |`)
}
await app.close()
