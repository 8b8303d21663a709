// Real web content out of npm packages.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const require = createRequire(import.meta.url)
const file = (name, path) => join(dirname(require.resolve(`${name}/package.json`)), path)

export const bodies = [
  ['image/svg+xml', 'flag-icons', 'flags/4x3/ke.svg'],
  ['application/javascript', 'lodash', 'core.min.js'],
  ['image/svg+xml', 'flag-icons', 'flags/4x3/mt.svg'],
  ['text/html', 'startbootstrap-freelancer', 'dist/index.html'],
  ['application/json', 'flag-icons', 'country.json'],
  ['text/css', 'bootstrap', 'dist/css/bootstrap-grid.min.css'],
  ['text/css', 'bootstrap', 'dist/css/bootstrap.css'],
  ['application/javascript', 'lodash', 'lodash.js']
].map(([type, name, path]) => ({ type, name: path.split('/').at(-1), path: file(name, path), body: readFileSync(file(name, path)) }))
