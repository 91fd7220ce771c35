select p.layer, p.neuron, p.n_clusters, l.label
from {{ ref('polysemantic') }} p
join {{ ref('labels') }} l on l.layer = p.layer and l.neuron = p.neuron
order by p.neuron
