{{ config(materialized='incremental') }}
-- Rows are added for neurons that have none yet: rows of a table that lasts are not replaced by key.
select e.neuron, e.example, e.token, e.activation
from {{ source('demo', 'examples') }} e
join {{ ref('labels') }} l on l.layer = e.layer and l.neuron = e.neuron
{% if is_incremental() %}
where e.neuron not in (select neuron from {{ this }})
{% endif %}
order by e.neuron, e.example
