// The viewer of scripts/peers/moq/server.py: @moq/watch at its lowest latency; bundled by the benchmark.
import '@moq/watch/element';

const watch = document.createElement('moq-watch');
watch.append(document.createElement('canvas'));
watch.setAttribute('url', `${location.origin}/`);
watch.setAttribute('name', 'glass.hang');
watch.setAttribute('visible', 'always');
watch.setAttribute('latency', '0');
document.body.append(watch);
