"""The table functions as methods, made from the catalogue.

`UPDATE_PAGES=1 cargo test -p polysema --test pages` writes this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._result import Result


class Functions:
    """One method for every table function; what is left out, or None, has its default."""

    def _call(self, name: str, arguments: list[tuple[str, Any]], options: dict[str, Any]) -> Result:
        raise NotImplementedError

    def neuron_embeddings(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        embedding: str | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per dataset example: its neuron embedding, h * w.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, example, embedding (List<Float32> [d_in], [2 d_in] of embedding
            'gate_up')
        """
        options: dict[str, Any] = {
            "embedding": embedding,
            "kind": kind,
            "run": run,
        }
        return self._call("neuron_embeddings", [("layer", layer), ("neuron", neuron)], options)

    def dataset_examples(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per dataset example: a document on which the neuron fires, with the token it fires on.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, example, doc_id, pos, token, activation, context (the key token between
            « and »)
        """
        options: dict[str, Any] = {
            "kind": kind,
            "run": run,
        }
        return self._call("dataset_examples", [("layer", layer), ("neuron", neuron)], options)

    def feature_clusters(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per dataset example with the feature cluster it belongs to: the separate behaviours of a neuron.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, cluster (0 is the largest; NULL for a zero vector), example, doc_id, pos,
            token, activation, context (the key token between « and »), is_central (the medoid of
            its cluster); by cluster, then example
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("feature_clusters", [("layer", layer), ("neuron", neuron)], options)

    def cluster_summary(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
        n_tokens: int | None = None,
    ) -> Result:
        """One row per feature cluster: its size, central example and most frequent key tokens.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run
            n_tokens: whole number, at least 1; most tokens in top_tokens; default 5

        Returns:
            layer, neuron, cluster (0 is the largest), size (its examples), central_example (the
            medoid), top_tokens (by count, ties by first example), mean_activation (of its
            examples), mean_distance (over the cluster's pairs; NULL for one member), sign (as
            neuron_polysemanticity gives it)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
            "n_tokens": n_tokens,
        }
        return self._call("cluster_summary", [("layer", layer), ("neuron", neuron)], options)

    def cluster_centroids(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per feature cluster: its centre, the mean of its examples' embeddings, each scaled to length 1.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, cluster (0 is the largest), size (its examples), centroid (List<Float32>
            [d_in], [2 d_in] of embedding 'gate_up'; 1 - centroid . u is the mean cosine distance of
            its examples to a vector u of length 1), sign (as neuron_polysemanticity gives it)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("cluster_centroids", [("layer", layer), ("neuron", neuron)], options)

    def feature_splits(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        upper: float | None = None,
        lower: float | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
        n_tokens: int | None = None,
    ) -> Result:
        """One row per part of a feature cluster that falls apart at a lower threshold: related but distinct behaviours.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            upper: number in [0, 2]; threshold of the parents; default polysema.threshold
            lower: number in [0, upper); threshold of the children; default 0.8 of upper
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run
            n_tokens: whole number, at least 1; most tokens in top_tokens; default 5

        Returns:
            layer, neuron, parent (cluster at upper), cluster (the child, numbered as at lower),
            size (examples of the child), parent_size (examples of the parent), dissimilarity (merge
            height at which the child joins the rest of its parent), central_example (the medoid),
            top_tokens (by count, ties by first example); by parent, then child
        """
        options: dict[str, Any] = {
            "upper": upper,
            "lower": lower,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
            "n_tokens": n_tokens,
        }
        return self._call("feature_splits", [("layer", layer), ("neuron", neuron)], options)

    def rare_features(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        min_ratio: float | None = None,
        max_size: int | None = None,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
        n_tokens: int | None = None,
    ) -> Result:
        """One row per feature cluster far smaller than the neuron's largest: behaviours that are easily missed.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            min_ratio: number, at least 1; how many times as large the dominant cluster is at least;
                default 10
            max_size: whole number, at least 1; most examples of a rare cluster; default any number
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run
            n_tokens: whole number, at least 1; most tokens in top_tokens; default 5

        Returns:
            layer, neuron, cluster (the rare one), size (its examples), dominant_cluster (the
            largest, 0), dominant_size (examples of that), ratio (dominant_size / size), distance
            (mean over the pairs of both), central_example (the medoid), top_tokens (by count, ties
            by first example); by cluster
        """
        options: dict[str, Any] = {
            "min_ratio": min_ratio,
            "max_size": max_size,
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
            "n_tokens": n_tokens,
        }
        return self._call("rare_features", [("layer", layer), ("neuron", neuron)], options)

    def token_search(
        self,
        word: str,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
        part: bool | None = None,
        n_tokens: int | None = None,
    ) -> Result:
        """One row per feature cluster that has a word among its key tokens: in how many of its examples.

        Arguments:
            word: text; what the key token is, without regard to case and to spaces around it
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run
            part: true or false; whether a key token that has the word within it counts too; default
                false
            n_tokens: whole number, at least 1; most tokens in top_tokens; default 5

        Returns:
            layer, neuron, cluster (0 is the largest), size (its examples), n_matches (those whose
            key token is the word), share (n_matches / size), top_tokens (of the matches, by count),
            mean_activation (of the matches), sign (as neuron_polysemanticity gives it)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
            "part": part,
            "n_tokens": n_tokens,
        }
        return self._call("token_search", [("word", word), ("layer", layer), ("neuron", neuron)], options)

    def linkage(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        linkage: str | None = None,
        embedding: str | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per merge of a neuron's hierarchical clustering (whatever polysema.method), in the order they happen.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, step (from 0, in the order of the merges), cluster1 (an example's number,
            or n_examples plus the step that made it, as in SciPy), cluster2 (the other, cluster1 <
            cluster2), dissimilarity (average distance of the two), size (members of the new
            cluster), sign (as neuron_polysemanticity gives it; each list of examples has merges of
            its own)
        """
        options: dict[str, Any] = {
            "linkage": linkage,
            "embedding": embedding,
            "kind": kind,
            "run": run,
        }
        return self._call("linkage", [("layer", layer), ("neuron", neuron)], options)

    def dendrogram_svg(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        max_leaves: int | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per neuron: the dendrogram of its examples as an SVG picture, cut and coloured by feature cluster.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            max_leaves: whole number, at least 2; most rows of the picture: of more examples a
                feature cluster is one triangle, of more clusters some share one; default 150
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, svg (a whole SVG document; clusters are those of hierarchical clustering,
            whatever polysema.method), sign (as neuron_polysemanticity gives it)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "max_leaves": max_leaves,
            "kind": kind,
            "run": run,
        }
        return self._call("dendrogram_svg", [("layer", layer), ("neuron", neuron)], options)

    def pairwise_distances(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        embedding: str | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per pair of a neuron's dataset examples with the cosine distance of their embeddings.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, example1 (number of an example), example2 (of another, after example1),
            distance (Float32 in [0, 2]; NULL if one is a zero vector)
        """
        options: dict[str, Any] = {
            "embedding": embedding,
            "kind": kind,
            "run": run,
        }
        return self._call("pairwise_distances", [("layer", layer), ("neuron", neuron)], options)

    def neuron_polysemanticity(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per neuron: how many feature clusters it has and how far apart its examples lie.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, n_examples (its dataset examples), n_clusters (feature clusters; NULL
            without examples), max_distance (over pairs; NULL below two), mean_distance (over pairs;
            NULL below two), intra_cluster_distance (pairs in one cluster, pooled; NULL if there is
            none), inter_cluster_distance (pairs across clusters; NULL for one cluster), silhouette
            (mean over examples, in [-1, 1], 0 for one alone; NULL for one cluster),
            cophenetic_correlation (of distances and merge heights; NULL below three examples,
            without variance or merges), sign (of gated neurons: the list of the greatest
            activations, positive, or of the least, negative; NULL of others); zero vectors count in
            n_examples only
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("neuron_polysemanticity", [("layer", layer), ("neuron", neuron)], options)

    def neuron_profile(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per neuron with its metrics, clusters, members and merges, all from one computation of its distances.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, n_examples (as neuron_polysemanticity gives it), n_clusters (as
            neuron_polysemanticity gives it), max_distance (as neuron_polysemanticity gives it),
            mean_distance (as neuron_polysemanticity gives it), intra_cluster_distance (as
            neuron_polysemanticity gives it), inter_cluster_distance (as neuron_polysemanticity
            gives it), clusters (list of cluster, size, central_example, mean_distance; UNNEST makes
            rows of a list), members (list of example, cluster, is_central), merges (list of step,
            cluster1, cluster2, dissimilarity, size; NULL where the method makes none), sign (as
            neuron_polysemanticity gives it)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("neuron_profile", [("layer", layer), ("neuron", neuron)], options)

    def nearest(
        self,
        table: Any,
        column: str,
        vector: Any,
        k: int | None = None,
        *,
        min_similarity: float | None = None,
    ) -> Result:
        """The k rows of a table whose vector is most similar to a given one by cosine.

        Arguments:
            table: table or (SELECT ...); what is searched; a part of a table as a query
            column: text; its column of vectors; rows where it is NULL or a zero vector are left out
            vector: list of numbers or (SELECT ...); what to search for; from a row: (SELECT pre_mlp
                FROM examples WHERE ...)
            k: whole number, at least 1; most rows given; default 10

        Options:
            min_similarity: number in [-1, 1]; least similarity given; default -1

        Returns:
            similarity (cosine with the vector; it comes after the table's own columns); the most
            similar first; equally similar rows by their other columns, from the left, lists left
            out. A filter outside is applied to the k rows
        """
        options: dict[str, Any] = {
            "min_similarity": min_similarity,
        }
        return self._call("nearest", [("table", table), ("column", column), ("vector", vector), ("k", k)], options)

    def central_examples(
        self,
        layer: int | str | None = None,
        neuron: int | None = None,
        *,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per feature cluster: its central example with the vector the neuron received there.

        Arguments:
            layer: whole number or text; the layer's number or name; left out, the layers of the
                option kind; NULL gives no rows
            neuron: whole number; index in the layer; left out, the whole layer; NULL gives no rows

        Options:
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, cluster (0 is the largest), size (its examples), example (the medoid),
            doc_id, pos, token, context (the key token between « and »), pre_mlp (the received
            vector; under embedding 'weighted' the weighted one)
        """
        options: dict[str, Any] = {
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("central_examples", [("layer", layer), ("neuron", neuron)], options)

    def similar_features(
        self,
        layer: int | str,
        neuron: int,
        cluster: int,
        *,
        k: int | None = None,
        min_similarity: float | None = None,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        kind: str | None = None,
        run: str | None = None,
    ) -> Result:
        """The feature clusters of other neurons most similar to one of this neuron's.

        Arguments:
            layer: whole number or text; the layer's number or name
            neuron: whole number; index in the layer
            cluster: whole number; a cluster of the neuron, as feature_clusters numbers them with
                the same options

        Options:
            k: whole number, at least 1; most clusters given; default 20
            min_similarity: number in [-1, 1]; least similarity given; default 0.05, the authors'
                for most layers (0.5 in the first, where vectors are more alike)
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            kind: 'mlp', 'sae' or 'all'; which layers are meant where none is named, in the call or
                by a filter such as layer = 7; default mlp, the model's own (all, where a run has
                none of that kind or no table layers)
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, cluster (0 is the neuron's largest), similarity (cosine of the vectors
            that the two central examples' neurons received), size (its examples), example (the
            central one), doc_id, pos, token, context (the key token between « and »); the most
            similar first. Layers of another width are left out
        """
        options: dict[str, Any] = {
            "k": k,
            "min_similarity": min_similarity,
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "kind": kind,
            "run": run,
        }
        return self._call("similar_features", [("layer", layer), ("neuron", neuron), ("cluster", cluster)], options)

    def coactivation(
        self,
        layer: int | str,
        *,
        with_layer: int | None = None,
        min_count: int | None = None,
        min_lift: float | None = None,
        threshold: float | None = None,
        n_clusters: int | None = None,
        method: str | None = None,
        linkage: str | None = None,
        embedding: str | None = None,
        strict: bool | None = None,
        run: str | None = None,
    ) -> Result:
        """Pairs of feature clusters of different neurons that fire on the same tokens more often than chance.

        Arguments:
            layer: whole number or text; the layer's number or name

        Options:
            with_layer: whole number; layer of the second cluster; default the same layer
            min_count: whole number, at least 1; fewest shared tokens; default 2
            min_lift: number from 0; lift above which a pair is given; default 1, which is chance
            threshold: number in [0, 2]; largest merge height inside a cluster; default
                polysema.threshold
            n_clusters: whole number, at least 1; in place of a threshold: the cut with at most this
                many clusters, fewer where merges tie
            method: text; 'hac' (hierarchical; the n^2 distances are held, but for average linkage
                of more than 4,096 examples, or of more distances than the memory limit allows,
                which is made from cluster means in n * d memory) or 'scc' (sub-cluster components,
                near average linkage's clusters in half of that); default polysema.method
            linkage: text; average, single, complete, weighted, ward, centroid or median; default
                polysema.linkage. The last three take cosine distances for Euclidean ones, as SciPy
                does with any matrix: their heights are no mean cosine distances, ward's may exceed
                2 (cut it by n_clusters), centroid's and median's may fall from merge to merge
            embedding: text; 'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector
                h), 'weighted' (h * w with the mean of h over the key token and the tokens before it
                in the window, weighted by the neuron's activations of the example's sign there:
                column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated
                neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default
                polysema.embedding
            strict: boolean; join only below the threshold, not at it; default polysema.strict
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer1 (of the first cluster), neuron1 (of the first cluster), cluster1 (its number),
            layer2 (of the second), neuron2 (of the second), cluster2 (its number), count (examples
            at the same doc_id and pos), size1 (distinct places of the first), size2 (distinct
            places of the second), expected (size1 * size2 / N, with N the distinct places of all
            examples of the layers), lift (count / expected); by lift, then count, highest first
        """
        options: dict[str, Any] = {
            "with_layer": with_layer,
            "min_count": min_count,
            "min_lift": min_lift,
            "threshold": threshold,
            "n_clusters": n_clusters,
            "method": method,
            "linkage": linkage,
            "embedding": embedding,
            "strict": strict,
            "run": run,
        }
        return self._call("coactivation", [("layer", layer)], options)

    def project(
        self,
        table: Any,
        column: str,
        n_components: int | None = None,
        *,
        normalize: bool | None = None,
    ) -> Result:
        """The rows of a table with their vector's principal components (PCA): points of a plane for a plot.

        Arguments:
            table: table or (SELECT ...); whose rows are given; a part of a table as a query
            column: text; its column of vectors, all of one width
            n_components: whole number in [1, 100]; coordinates that are added; default 2

        Options:
            normalize: boolean; take vectors at length 1, as cosine distances do; default false

        Returns:
            pc1 (the coordinate in the direction in which the vectors vary most, from their mean; it
            comes after the table's own columns; NULL where the vector is, and with normalize of a
            zero vector), pc2 (in the direction at right angles to it, and so on; 0 where the
            vectors have no further one); every row of the table. A filter outside is applied to the
            projected rows
        """
        options: dict[str, Any] = {
            "normalize": normalize,
        }
        return self._call("project", [("table", table), ("column", column), ("n_components", n_components)], options)

    def ingest(
        self,
        run: str,
        model: str,
        corpus: Any,
        *,
        context: int | None = None,
        activation_threshold: float | None = None,
        max_examples: int | None = None,
        order: str | None = None,
        sign: str | None = None,
        min_tokens: int | None = None,
        min_activation: float | None = None,
        batch_size: int | None = None,
        max_documents: int | None = None,
        max_tokens: int | None = None,
        shuffle: int | None = None,
        bos: bool | None = None,
        window: int | None = None,
        window_vectors: bool | None = None,
        layer_norm: str | None = None,
        column: str | None = None,
        dtype: str | None = None,
        split: str | None = None,
        checkpoint_every: float | None = None,
        resume: bool | None = None,
        shards: int | None = None,
        replace: bool | None = None,
        max_activations: Any | None = None,
    ) -> Result:
        """Sends a corpus through a model and keeps what every neuron responds to as a run; its rows are its progress.

        Arguments:
            run: text; name of the new run
            model: text; a Hugging Face folder (its model_type one of bert, clip, clip_vision_model,
                gemma, gemma2, gemma3, gemma3_text, gpt2, gpt_neo, gpt_neox, llama, mistral, olmo,
                olmo2, olmo3, opt, phi, phi3, qwen2, qwen3, smollm3, stablelm, vit) or a GGUF file
                (its general.architecture one of llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3,
                gpt2, gptneox), either also of the hub as hf:ORG/NAME[@REVISION][/PATH]; a
                classifier's folder or safetensors file; or the name of a stored model
            corpus: text, table or (SELECT ...); texts or token ids: a file of .txt, .jsonl,
                .ndjson, .json, .csv, .tsv (these also as .gz or .zst), .parquet, .arrow or .bin, a
                folder of such files, a pattern of them, hf:datasets/ORG/NAME[/PATH] of the hub, or
                rows; images for a model that reads them: a .npy file, a folder of idx files or one
                of them

        Options:
            context: whole number from 1 to 1048576; tokens a document has at most, at most the
                model's positions; longer texts are cut into consecutive documents; default 128
            activation_threshold: number in (0, 1]; share of a neuron's maximum at which a document
                is a dataset example; default 0.75
            max_examples: whole number from 1 to 2^31 - 1; dataset examples a neuron keeps at most;
                default 100
            order: 'corpus' or 'top'; which examples are kept: the first ones of the corpus, or
                those of highest activation; default corpus
            sign: 'positive', 'negative' or 'both'; of gated neurons, whose activations have no
                natural sign: examples of the greatest activations (positive), of the least
                (negative), or both lists (when left out)
            min_tokens: whole number from 1 to 1048576; documents of fewer tokens are dropped; at
                most context; default 1
            min_activation: number above 0, at most 3e38; activation at which a document is an
                example, in place of activation_threshold
            batch_size: whole number from 1 to 65536; documents the model reads at once; changes
                speed and memory, not results; default 16
            max_documents: whole number from 1 to 2^31 - 1; documents after which the rest of the
                corpus is left out
            max_tokens: whole number from 1 to 2^32 - 1; tokens of all documents at most: the corpus
                ends before the first document that would make them more
            shuffle: whole number from 0 to 2^32 - 1; seed of a random order of all documents, for
                corpora sorted by topic; max_documents and max_tokens then take the first of that
                order
            bos: true or false; begin each document with the model's first token, which is never a
                key token; documents of an encoder have [CLS] before and [SEP] behind them unless
                this is false
            window: whole number from 0 to 1048576; tokens kept before and after the key token, for
                display; default 10
            window_vectors: true or false; keep what neurons received at the tokens before the key
                token too, for embedding: 'weighted'; the store grows by up to every token's vector;
                default false
            layer_norm: 'folded', 'raw' or 'tl_folded'; whether the layer norm's scale and bias
                count as weights (folded) or as input (raw); default folded
            column: text; the column of rows that holds the text, or lists of token ids, which are
                taken as they are; the other columns are kept in documents; default text
            dtype: 'uint16' or 'uint32'; how wide the token ids of a .bin are; when left out 16 bits
                where the model's vocabulary has room in them, and what contradicts is refused
            split: 'train', 'test' or 'all'; which images of a folder are read: the training ones,
                the test ones, or the one after the other (when left out)
            checkpoint_every: number above 0, at most 3e38; seconds between two checkpoints, from
                which the same call goes on when it was killed or cancelled; default 600
            resume: true or false; whether an interrupted ingest of this name goes on; false begins
                anew; default true
            shards: whole number from 1 to 256; parts of the corpus, worked on by as many processes
                as make the same call on the same store; the run is that of one part; default 1
            replace: true or false; whether a run of the same name is replaced; default false
            max_activations: table or (SELECT ...); maxima that take the place of those found in the
                corpus: layer, neuron, max_activation

        Returns:
            phase (what is being done, at the end done), documents (read until now), total_documents
            (NULL where unknown), tokens (read until now), tokens_per_second (of the phase until
            now), elapsed_seconds (since the job began), message (what there is to say); several
            rows a second
        """
        options: dict[str, Any] = {
            "context": context,
            "activation_threshold": activation_threshold,
            "max_examples": max_examples,
            "order": order,
            "sign": sign,
            "min_tokens": min_tokens,
            "min_activation": min_activation,
            "batch_size": batch_size,
            "max_documents": max_documents,
            "max_tokens": max_tokens,
            "shuffle": shuffle,
            "bos": bos,
            "window": window,
            "window_vectors": window_vectors,
            "layer_norm": layer_norm,
            "column": column,
            "dtype": dtype,
            "split": split,
            "checkpoint_every": checkpoint_every,
            "resume": resume,
            "shards": shards,
            "replace": replace,
            "max_activations": max_activations,
        }
        return self._call("ingest", [("run", run), ("model", model), ("corpus", corpus)], options)

    def import_run(
        self,
        run: str,
        folder: str,
        *,
        activation_function: str | None = None,
        activation_threshold: float | None = None,
        max_examples: int | None = None,
        order: str | None = None,
        min_activation: float | None = None,
        window: int | None = None,
        window_vectors: bool | None = None,
        replace: bool | None = None,
        max_activations: Any | None = None,
    ) -> Result:
        """Makes a run of activations and weights that were computed elsewhere; its rows are its progress.

        Arguments:
            run: text; name of the new run
            folder: text; a folder of .npy files and .safetensors tensors: for each layer L from 0
                L.h [rows, d_in] (what the neurons received), L.w_in [n_neurons, d_in],
                L.activations [rows, n_neurons] (or the option activation_function), and if there
                are L.b_in [n_neurons], L.w_out [n_neurons, d_out]; for the rows, if there are,
                doc_id (else each row is a document), pos (counts from 0 in each document), token_id
                [rows] and the tokens in tokens.jsonl (a JSON string a line) or tokens.txt

        Options:
            activation_function: 'gelu_new', 'gelu_pytorch_tanh', 'gelu_fast', 'gelu_accurate',
                'gelu', 'relu', 'relu2', 'quick_gelu', 'silu', 'swish' or 'relu_squared'; the
                nonlinearity of every layer; where L.activations is missing it is applied to h *
                w_in + b_in
            activation_threshold: number in (0, 1]; share of a neuron's maximum at which a document
                is a dataset example; default 0.75
            max_examples: whole number from 1 to 2^31 - 1; dataset examples a neuron keeps at most;
                default 100
            order: 'corpus' or 'top'; which examples are kept: the first ones of the corpus, or
                those of highest activation; default corpus
            min_activation: number above 0, at most 3e38; activation at which a document is an
                example, in place of activation_threshold
            window: whole number from 0 to 1048576; tokens kept before and after the key token, for
                display; default 10
            window_vectors: true or false; keep what neurons received at the tokens before the key
                token too, for embedding: 'weighted'; the store grows by up to every token's vector;
                default false
            replace: true or false; whether a run of the same name is replaced; default false
            max_activations: table or (SELECT ...); maxima that take the place of those found in the
                corpus: layer, neuron, max_activation

        Returns:
            phase (what is being done, at the end done), documents (read until now), total_documents
            (NULL where unknown), tokens (read until now), tokens_per_second (of the phase until
            now), elapsed_seconds (since the job began), message (what there is to say); several
            rows a second
        """
        options: dict[str, Any] = {
            "activation_function": activation_function,
            "activation_threshold": activation_threshold,
            "max_examples": max_examples,
            "order": order,
            "min_activation": min_activation,
            "window": window,
            "window_vectors": window_vectors,
            "replace": replace,
            "max_activations": max_activations,
        }
        return self._call("import_run", [("run", run), ("folder", folder)], options)

    def activations(
        self,
        model: str,
        corpus: Any,
        hook: str,
        *,
        context: int | None = None,
        min_tokens: int | None = None,
        batch_size: int | None = None,
        max_documents: int | None = None,
        max_tokens: int | None = None,
        shuffle: int | None = None,
        bos: bool | None = None,
        column: str | None = None,
        dtype: str | None = None,
        split: str | None = None,
    ) -> Result:
        """One row per token of a corpus: the vector at one place of a model that reads it. Nothing is stored.

        Arguments:
            model: text; as for ingest: a folder or file, hf:ORG/NAME of the hub, or the name of a
                stored model
            corpus: text, table or (SELECT ...); texts, token ids or images as ingest reads them:
                files, a name of the hub, a table's or a query's rows
            hook: text; the place, blocks.LAYER.SITE as in blocks.2.mlp.out; the sites are
                resid.pre, ln1.out, attn.qkv, attn.scores, attn.pattern, attn.z, attn.out,
                resid.mid, ln2.normalized, ln2.out, mlp.in, mlp.pre, mlp.gate, mlp.up, mlp.post,
                mlp.out, resid.post, of which a model has some

        Options:
            context: whole number from 1 to 1048576; tokens a document has at most, at most the
                model's positions; longer texts are cut into consecutive documents; default 128
            min_tokens: whole number from 1 to 1048576; documents of fewer tokens are dropped; at
                most context; default 1
            batch_size: whole number from 1 to 65536; documents the model reads at once; changes
                speed and memory, not results; default 16
            max_documents: whole number from 1 to 2^31 - 1; documents after which the rest of the
                corpus is left out
            max_tokens: whole number from 1 to 2^32 - 1; tokens of all documents at most: the corpus
                ends before the first document that would make them more
            shuffle: whole number from 0 to 2^32 - 1; seed of a random order of all documents, for
                corpora sorted by topic; max_documents and max_tokens then take the first of that
                order
            bos: true or false; begin each document with the model's first token, which is never a
                key token; documents of an encoder have [CLS] before and [SEP] behind them unless
                this is false
            column: text; the column of rows that holds the text, or lists of token ids, which are
                taken as they are; the other columns are kept in documents; default text
            dtype: 'uint16' or 'uint32'; how wide the token ids of a .bin are; when left out 16 bits
                where the model's vocabulary has room in them, and what contradicts is refused
            split: 'train', 'test' or 'all'; which images of a folder are read: the training ones,
                the test ones, or the one after the other (when left out)

        Returns:
            doc_id, pos, vector (the values at the place); documents of similar length are read
            together, so rows need an ORDER BY
        """
        options: dict[str, Any] = {
            "context": context,
            "min_tokens": min_tokens,
            "batch_size": batch_size,
            "max_documents": max_documents,
            "max_tokens": max_tokens,
            "shuffle": shuffle,
            "bos": bos,
            "column": column,
            "dtype": dtype,
            "split": split,
        }
        return self._call("activations", [("model", model), ("corpus", corpus), ("hook", hook)], options)

    def token_losses(
        self,
        model: str,
        corpus: Any,
        *,
        context: int | None = None,
        min_tokens: int | None = None,
        batch_size: int | None = None,
        max_documents: int | None = None,
        max_tokens: int | None = None,
        shuffle: int | None = None,
        bos: bool | None = None,
        column: str | None = None,
        dtype: str | None = None,
        split: str | None = None,
    ) -> Result:
        """One row per predicted token of a corpus: what the model's prediction cost, whose mean is its cross-entropy. Nothing is stored.

        Arguments:
            model: text; as for ingest: a folder or file, hf:ORG/NAME of the hub, or the name of a
                stored model
            corpus: text, table or (SELECT ...); texts, token ids or images as ingest reads them:
                files, a name of the hub, a table's or a query's rows

        Options:
            context: whole number from 1 to 1048576; tokens a document has at most, at most the
                model's positions; longer texts are cut into consecutive documents; default 128
            min_tokens: whole number from 1 to 1048576; documents of fewer tokens are dropped; at
                most context; default 1
            batch_size: whole number from 1 to 65536; documents the model reads at once; changes
                speed and memory, not results; default 16
            max_documents: whole number from 1 to 2^31 - 1; documents after which the rest of the
                corpus is left out
            max_tokens: whole number from 1 to 2^32 - 1; tokens of all documents at most: the corpus
                ends before the first document that would make them more
            shuffle: whole number from 0 to 2^32 - 1; seed of a random order of all documents, for
                corpora sorted by topic; max_documents and max_tokens then take the first of that
                order
            bos: true or false; begin each document with the model's first token, which is never a
                key token; documents of an encoder have [CLS] before and [SEP] behind them unless
                this is false
            column: text; the column of rows that holds the text, or lists of token ids, which are
                taken as they are; the other columns are kept in documents; default text
            dtype: 'uint16' or 'uint32'; how wide the token ids of a .bin are; when left out 16 bits
                where the model's vocabulary has room in them, and what contradicts is refused
            split: 'train', 'test' or 'all'; which images of a folder are read: the training ones,
                the test ones, or the one after the other (when left out)

        Returns:
            doc_id, pos, token_id (the token that is predicted from those before it in its document:
            every one but the first that is the document's own), loss (-ln p(token), in nats);
            documents of similar length are read together, so rows need an ORDER BY
        """
        options: dict[str, Any] = {
            "context": context,
            "min_tokens": min_tokens,
            "batch_size": batch_size,
            "max_documents": max_documents,
            "max_tokens": max_tokens,
            "shuffle": shuffle,
            "bos": bos,
            "column": column,
            "dtype": dtype,
            "split": split,
        }
        return self._call("token_losses", [("model", model), ("corpus", corpus)], options)

    def logit_effects(
        self,
        layer: int | str,
        neuron: int | None = None,
        *,
        k: int | None = None,
        layer_norm: str | None = None,
        model: str | None = None,
        run: str | None = None,
    ) -> Result:
        """The tokens that a neuron promotes and suppresses most: the direct effect of its output weights on the logits.

        Arguments:
            layer: whole number or text; the layer's number or name
            neuron: whole number; index in the layer; left out, every neuron of the layer

        Options:
            k: whole number from 1 to 2^31 - 1; tokens given of each side, at most half of all;
                default 10
            layer_norm: 'folded' or 'raw'; whether norms between the neuron and the logits count
                (folded: their scales, a layer norm's centring, and effects less their mean over all
                tokens, as with TransformerLens' processed weights) or the unembedding alone (raw);
                default folded where a norm stands before the logits
            model: text; where the run's model is now; default where it was
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, side (top: the largest effects, or bottom: the least), rank (from 1, the
            strongest of its side), token_id (of a classifier the class), token (its text, NULL
            where the model has no tokenizer), effect (what an activation of 1 adds to the logit
            directly, through no other layer, where what the last norm reads has a standard
            deviation or root mean square of 1; before a cap of the logits); latents count with
            their decoder's row, where it writes to the residual stream or to neurons' activations
        """
        options: dict[str, Any] = {
            "k": k,
            "layer_norm": layer_norm,
            "model": model,
            "run": run,
        }
        return self._call("logit_effects", [("layer", layer), ("neuron", neuron)], options)

    def token_activations(
        self,
        layer: int | str,
        neuron: int,
        doc_id: int,
        *,
        model: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per token of a document: the activation of a neuron there, by a pass of the run's model.

        Arguments:
            layer: whole number or text; the layer's number or name
            neuron: whole number; index in the layer
            doc_id: whole number; a document of the run

        Options:
            model: text; where the run's model is now; default where it was
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, doc_id, pos (in the document), token_id (in the model's vocabulary),
            token (its text), activation (of the neuron there); by pos, from the first token of the
            document to its last, those of bos included
        """
        options: dict[str, Any] = {
            "model": model,
            "run": run,
        }
        return self._call("token_activations", [("layer", layer), ("neuron", neuron), ("doc_id", doc_id)], options)

    def token_importance(
        self,
        layer: int | str,
        neuron: int,
        example: int,
        *,
        window: int | None = None,
        pad: int | None = None,
        batch_size: int | None = None,
        model: str | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per token up to the key token of a dataset example: how much of the activation there is lost without it.

        Arguments:
            layer: whole number or text; the layer's number or name
            neuron: whole number; index in the layer
            example: whole number; a dataset example of the neuron, as table examples numbers them

        Options:
            window: whole number from 0 to 2^31 - 1; tokens before the key token that are replaced,
                the nearest ones; each costs a pass of the model; default all of the document
            pad: whole number from 0 to 2^31 - 1; id of the token that takes the place of each;
                default the tokenizer's padding token, else the one that ends a text
            batch_size: whole number from 1 to 65536; documents the model reads at once; changes
                speed and memory, not results; default 16
            model: text; where the run's model is now; default where it was
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            layer, neuron, example, pos (of the token that is replaced, in its document), token_id
            (in the model's vocabulary), token (its text), activation (at the key token when this
            one is replaced by the pad token), drop (how much less that is), importance (drop / drop
            of the key token itself, in [0, 1]; NULL where that is not above 0); by pos, the key
            token last, of an encoder also the tokens behind it
        """
        options: dict[str, Any] = {
            "window": window,
            "pad": pad,
            "batch_size": batch_size,
            "model": model,
            "run": run,
        }
        return self._call("token_importance", [("layer", layer), ("neuron", neuron), ("example", example)], options)

    def explain_text(
        self,
        text: str,
        *,
        layers: Any | None = None,
        k: int | None = None,
        activation_threshold: float | None = None,
        threshold: float | None = None,
        model: str | None = None,
        run: str | None = None,
    ) -> Result:
        """Which feature clusters a text makes fire: it is sent through the run's model, a row per token and neuron that fires.

        Arguments:
            text: text; what is read, cut into documents as the run's corpus was

        Options:
            layers: list of 1 to 1024 whole numbers from 0 to 2^31 - 1; numbers of the layers whose
                neurons are looked at; default those of the model, without autoencoders'
            k: whole number from 1 to 2^31 - 1; most neurons given of a token, those nearest to
                their maximum first; default 5
            activation_threshold: number in (0, 1]; share of a neuron's maximum at which it fires;
                default 0.5
            threshold: number from 0 to 2; largest merge height inside a cluster; default
                polysema.threshold
            model: text; where the run's model is now; default where it was
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            pos (of the token in the text), token_id (in the model's vocabulary), token (its text),
            layer, neuron, cluster (the one whose examples are nearest by the session's embedding;
            NULL where there is none), activation (of the neuron there), share (activation / the
            neuron's maximum in the run, or its minimum where both are negative; above 1 it is
            stronger than anywhere in the corpus), distance (mean cosine distance to the cluster's
            examples), size (its examples), top_tokens (the most frequent of their key tokens); by
            pos, then share from the largest. Neurons without examples are left out. The session's
            settings of clustering hold
        """
        options: dict[str, Any] = {
            "layers": layers,
            "k": k,
            "activation_threshold": activation_threshold,
            "threshold": threshold,
            "model": model,
            "run": run,
        }
        return self._call("explain_text", [("text", text)], options)

    def train_mlp(
        self,
        name: str,
        corpus: str,
        *,
        hidden: Any | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        seed: int | None = None,
        replace: bool | None = None,
    ) -> Result:
        """Trains a ReLU classifier of labelled images and stores it as a model; its rows are its progress.

        Arguments:
            name: text; name of the new model, by which ingest and activations find it
            corpus: text; a folder of MNIST's four idx files, plain or gzipped

        Options:
            hidden: list of 1 to 16 whole numbers from 1 to 65536; widths of the hidden layers;
                default [64]
            epochs: whole number from 1 to 2^31 - 1; how often each image is seen; default 3
            batch_size: whole number from 1 to 65536; images of a step; default 128
            learning_rate: number above 0, at most 3e38; length of a step of AdamW; default 0.001
            weight_decay: number from 0 to 3e38; decoupled weight decay; default 0.01
            seed: whole number from 0 to 2^63 - 1; decides the first weights and the order of the
                images; default 0
            replace: true or false; whether a model of the same name is replaced; default false

        Returns:
            step (batches learned from), epoch (from 1), loss (mean since the last row), accuracy
            (of the test images at the end of an epoch, else NULL), rows_per_second (until now),
            elapsed_seconds (since the job began), message (what there is to say); several rows a
            second
        """
        options: dict[str, Any] = {
            "hidden": hidden,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "seed": seed,
            "replace": replace,
        }
        return self._call("train_mlp", [("name", name), ("corpus", corpus)], options)

    def cancel_job(
        self,
        id: str,
    ) -> Result:
        """Ends a job of the store, also one of another process, and waits until it has ended.

        Arguments:
            id: text; the job's id in polysema.info.jobs

        Returns:
            id (the job's), function (that it runs), state (cancelled; done, failed or lost if it
            ended by itself meanwhile), message (its last); one row
        """
        options: dict[str, Any] = {
        }
        return self._call("cancel_job", [("id", id)], options)

    def drop_run(
        self,
        name: str,
        *,
        cascade: bool | None = None,
    ) -> Result:
        """Removes a run, or what an interrupted ingest of its name has left, from the store; DROP SCHEMA name CASCADE does so too.

        Arguments:
            name: text; name of the run

        Options:
            cascade: true or false; whether the run's autoencoders are removed with it, which are
                refused otherwise; default false

        Returns:
            removed (what, by its name), autoencoders (those that went with it), size_bytes (what it
            took on disk); one row
        """
        options: dict[str, Any] = {
            "cascade": cascade,
        }
        return self._call("drop_run", [("name", name)], options)

    def drop_model(
        self,
        name: str,
    ) -> Result:
        """Removes a model of train_mlp from the store; runs that were made with it stay.

        Arguments:
            name: text; name of the model

        Returns:
            removed (what, by its name), autoencoders (those that went with it), size_bytes (what it
            took on disk); one row
        """
        options: dict[str, Any] = {
        }
        return self._call("drop_model", [("name", name)], options)

    def train_sae(
        self,
        name: str,
        source: Any,
        *,
        preset: str | None = None,
        hook: str | None = None,
        model: str | None = None,
        corpus: str | None = None,
        column: str | None = None,
        d_sae: int | None = None,
        expansion: int | None = None,
        variant: str | None = None,
        k: int | None = None,
        centered: bool | None = None,
        init: str | None = None,
        normalize: str | None = None,
        l1: float | None = None,
        ne_loss: float | None = None,
        ne_momentum: float | None = None,
        ne_start_step: int | None = None,
        reduction: str | None = None,
        learning_rate: float | None = None,
        warmup: int | None = None,
        cooldown: float | None = None,
        weight_decay: float | None = None,
        decay: str | None = None,
        clip_norm: float | None = None,
        bandwidth: float | None = None,
        unit_norm_decoder: bool | None = None,
        dead_latents: str | None = None,
        dead_after: int | None = None,
        aux_k: int | None = None,
        aux_coefficient: float | None = None,
        resample_every: int | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        max_tokens: int | None = None,
        buffer: int | None = None,
        seed: int | None = None,
        checkpoint_every: int | None = None,
        resume: bool | None = None,
        replace: bool | None = None,
        activation_threshold: float | None = None,
        min_activation: float | None = None,
        max_examples: int | None = None,
        order: str | None = None,
        window: int | None = None,
        window_vectors: bool | None = None,
        run: str | None = None,
    ) -> Result:
        """Trains a sparse autoencoder, whose latents become a layer of neurons; its rows are its progress.

        Arguments:
            name: text; name of the new autoencoder and of its latents' layer
            source: layer number or name, table, or (SELECT ...); a layer of the current run, or a
                place in one as blocks.2.mlp.out (its model reads its corpus again, and the run gets
                the latents as a layer more), or rows with a column of vectors (the latents become a
                run of their own)

        Options:
            preset: 'foote_mnist'; settings that the other options then change: those of Foote 2024,
                section 4.2, the unstated ones reconstructed
            hook: 'resid.pre', 'ln1.out', 'attn.qkv', 'attn.scores', 'attn.pattern', 'attn.z',
                'attn.out', 'resid.mid', 'ln2.normalized', 'ln2.out', 'mlp.in', 'mlp.pre',
                'mlp.gate', 'mlp.up', 'mlp.post', 'mlp.out' or 'resid.post'; the place in the layer
                whose vectors are read; default mlp.out, of a classifier mlp.post
            model: text; where the run's model is now; default where it was
            corpus: text; where the run's corpus is now; default where it was
            column: text; the source's column of vectors; may be left out where there is one
            d_sae: whole number from 1 to 16777216; number of latents; default expansion times the
                vectors' width, none with expansion, 512 with preset 'foote_mnist'
            expansion: whole number from 1 to 65536; number of latents over the vectors' width;
                default 8
            variant: 'relu', 'topk', 'batch_topk', 'jump_relu' or 'gated'; what makes the codes
                sparse; default relu
            k: whole number from 1 to 16777216; latents active at once, at most d_sae; only with
                variant 'topk' or 'batch_topk'; default 32, of vectors narrower than 128 a quarter
                of their width
            centered: true or false; whether b_dec is taken off a vector before it is encoded;
                default true
            init: 'uniform' or 'tied'; weights before training: uniform in 1/sqrt(fan in), or
                decoder rows of norm 1 with the encoder equal to them; default tied, uniform with
                preset 'foote_mnist'
            normalize: 'variance' or 'none'; 'variance': vectors are divided by their root mean
                square distance from their mean, both of the first buffer, b_dec begins at the mean,
                the loss's first term is the share of variance that is not explained, and the
                division goes into the weights at the end; 'none': vectors as they are, and the mean
                over rows and dimensions of the squared error; default variance, none with preset
                'foote_mnist'
            l1: number from 0 to 3e38; weight of the sparsity term, a row's sum of activations (of
                jump_relu: their number); of normalized vectors it means the same whatever their
                width and scale: SAELens' l1_coefficient over the root of the width; only with
                variant 'relu', 'gated' or 'jump_relu'; default 0.1, 0.001 with variant 'jump_relu',
                0 with variant 'topk' or 'batch_topk', 0.0002 with preset 'foote_mnist'
            ne_loss: number from 0 to 3e38; weight of the neuron embedding loss; default 0, 0.005
                with preset 'foote_mnist'
            ne_momentum: number in [0, 1); weight of the old average of a latent's vectors; only
                with ne_loss above 0; default 0.9
            ne_start_step: whole number from 0 to 2^63 - 1; first step with the neuron embedding
                loss; only with ne_loss above 0; default 200
            reduction: 'sum' or 'mean'; whether the terms of l1 and ne_loss are sums over a batch,
                or means over its rows; default mean, sum with preset 'foote_mnist'
            learning_rate: number above 0, at most 3e38; Adam's step size once warm; default 0.02
                over the root of the vectors' width, 0.001 with preset 'foote_mnist'
            warmup: whole number from 0 to 2^63 - 1; steps over which the learning rate rises
                linearly; default 500, 0 with preset 'foote_mnist'
            cooldown: number from 0 to 1; share of the training at whose end the learning rate falls
                linearly to 0; of a source whose end comes as a surprise at most the last buffer;
                default 0.2, 0 with preset 'foote_mnist'
            weight_decay: number from 0 to 3e38; pull of every parameter towards 0; default 0, 0.01
                with preset 'foote_mnist'
            decay: 'coupled' or 'decoupled'; whether that pull is added to the gradient (L2) or
                taken off beside the step (AdamW); only with weight_decay above 0; default coupled
            clip_norm: number above 0, at most 3e38; largest norm of the gradient
            bandwidth: number above 0, at most 3e38; width of the kernel that estimates the gradient
                of the thresholds; only with variant 'jump_relu'; default 0.1
            unit_norm_decoder: true or false; whether decoder rows are held at norm 1, of normalized
                vectors; longer ones would make the sparsity term small for nothing; default true,
                false with preset 'foote_mnist'
            dead_latents: 'leave', 'auxiliary' or 'resample'; what is done for latents that are
                never active: nothing, the auxiliary loss of Gao et al. 2024, or to begin anew as in
                Bricken et al. 2023; default leave, leave with preset 'foote_mnist', auxiliary with
                variant 'topk', 'batch_topk' or 'jump_relu'
            dead_after: whole number from 1 to 2^63 - 1; steps without activity after which a latent
                counts as dead; default 500
            aux_k: whole number from 1 to 16777216; dead latents a row that reconstruct what the
                others leave; only with dead_latents 'auxiliary'; default half of the vectors' width
            aux_coefficient: number from 0 to 3e38; weight of that reconstruction's error over the
                variance of what the others leave; only with dead_latents 'auxiliary'; default
                0.03125
            resample_every: whole number from 1 to 2^63 - 1; steps between two resamplings of dead
                latents; only with dead_latents 'resample'; default 2500
            batch_size: whole number from 1 to 1048576; rows of a step; default 128
            epochs: whole number from 1 to 2^63 - 1; times the source is seen; one that fits into
                the buffer is read once; default as many as 4000 steps or max_tokens take, 1 with
                preset 'foote_mnist'
            max_tokens: whole number from 1 to 2^63 - 1; rows after which training ends, at least
                batch_size
            buffer: whole number from 1 to 2^31 - 1; rows that are shuffled together; memory is as
                many vectors; default 65536
            seed: whole number from 0 to 2^63 - 1; seed of the first parameters and of the order of
                rows; default 0
            checkpoint_every: whole number from 1 to 2^63 - 1; steps between two checkpoints;
                default 1000
            resume: true or false; whether an interrupted training of this name goes on; false
                begins anew; default true
            replace: true or false; whether an autoencoder of the same name is replaced; default
                false
            activation_threshold: number in (0, 1]; share of a neuron's maximum at which a document
                is a dataset example
            min_activation: number above 0, at most 3e38; activation at which a document is an
                example, in place of activation_threshold; default 0.005, none with
                activation_threshold
            max_examples: whole number from 1 to 2^31 - 1; dataset examples a neuron keeps at most;
                default 100
            order: 'corpus' or 'top'; which examples are kept: the first ones of the corpus, or
                those of highest activation; default corpus
            window: whole number from 0 to 1048576; tokens kept before and after the key token, for
                display; default 10
            window_vectors: true or false; keep what neurons received at the tokens before the key
                token too, for embedding: 'weighted'; the store grows by up to every token's vector;
                default false
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            phase (what is being done, at the end done), step (batches learned from), rows_seen
            (with those seen again), loss (of the last step), mse (of the last step, in the last row
            of all rows), l1 (as mse), ne_loss (as loss), l0 (active latents a row, as mse),
            dead_percent (latents without activity, as mse), explained_variance (as mse; NULL where
            rows do not vary), rows_per_second (until now), elapsed_seconds (since the job began),
            message (what there is to say); several rows a second
        """
        options: dict[str, Any] = {
            "preset": preset,
            "hook": hook,
            "model": model,
            "corpus": corpus,
            "column": column,
            "d_sae": d_sae,
            "expansion": expansion,
            "variant": variant,
            "k": k,
            "centered": centered,
            "init": init,
            "normalize": normalize,
            "l1": l1,
            "ne_loss": ne_loss,
            "ne_momentum": ne_momentum,
            "ne_start_step": ne_start_step,
            "reduction": reduction,
            "learning_rate": learning_rate,
            "warmup": warmup,
            "cooldown": cooldown,
            "weight_decay": weight_decay,
            "decay": decay,
            "clip_norm": clip_norm,
            "bandwidth": bandwidth,
            "unit_norm_decoder": unit_norm_decoder,
            "dead_latents": dead_latents,
            "dead_after": dead_after,
            "aux_k": aux_k,
            "aux_coefficient": aux_coefficient,
            "resample_every": resample_every,
            "batch_size": batch_size,
            "epochs": epochs,
            "max_tokens": max_tokens,
            "buffer": buffer,
            "seed": seed,
            "checkpoint_every": checkpoint_every,
            "resume": resume,
            "replace": replace,
            "activation_threshold": activation_threshold,
            "min_activation": min_activation,
            "max_examples": max_examples,
            "order": order,
            "window": window,
            "window_vectors": window_vectors,
            "run": run,
        }
        return self._call("train_sae", [("name", name), ("source", source)], options)

    def import_sae(
        self,
        name: str,
        path: str,
        source: Any,
        *,
        hook: str | None = None,
        hook_out: str | None = None,
        subfolder: str | None = None,
        model: str | None = None,
        corpus: str | None = None,
        model_name: str | None = None,
        bos: bool | None = None,
        context: int | None = None,
        column: str | None = None,
        activation_threshold: float | None = None,
        min_activation: float | None = None,
        max_examples: int | None = None,
        order: str | None = None,
        window: int | None = None,
        window_vectors: bool | None = None,
        replace: bool | None = None,
        run: str | None = None,
    ) -> Result:
        """Takes in a sparse autoencoder that was trained elsewhere, whose latents become a layer of neurons.

        Arguments:
            name: text; name it gets here, also that of its latents' layer
            path: text; a folder of SAELens (cfg.json), dictionary_learning (config.json, ae.pt),
                sparsify (sae.safetensors), Gemma Scope (params.npz, params.safetensors) or Llama
                Scope (hyperparams.json), or a file of OpenAI's or of a network of two linear layers
                (0.weight, 0.bias, 1.weight, 1.bias; .safetensors or .pt); of the hub as
                hf:ORG/NAME[/PATH]
            source: layer number or name, table, or (SELECT ...); where its vectors come from, as
                for train_sae; of a layer, at the place the file names

        Options:
            hook: 'resid.pre', 'ln1.out', 'attn.qkv', 'attn.scores', 'attn.pattern', 'attn.z',
                'attn.out', 'resid.mid', 'ln2.normalized', 'ln2.out', 'mlp.in', 'mlp.pre',
                'mlp.gate', 'mlp.up', 'mlp.post', 'mlp.out' or 'resid.post'; the place in the layer
                whose vectors are read; default what the file says, else mlp.out, of a classifier
                mlp.post
            hook_out: 'resid.pre', 'ln1.out', 'attn.qkv', 'attn.scores', 'attn.pattern', 'attn.z',
                'attn.out', 'resid.mid', 'ln2.normalized', 'ln2.out', 'mlp.in', 'mlp.pre',
                'mlp.gate', 'mlp.up', 'mlp.post', 'mlp.out' or 'resid.post'; the place in the layer
                whose values a transcoder gives back; default what the file says
            subfolder: text; the folder within path whose autoencoder it is, where there are several
            model: text; where the run's model is now; default where it was
            corpus: text; where the run's corpus is now; default where it was
            model_name: text; the model it is of; must be the run's; default the file's
            bos: true or false; whether its documents began with the model's first token; must be so
                in the run; default the file's
            context: whole number from 1 to 1048576; tokens of its documents; at least the run's;
                default the file's
            column: text; the source's column of vectors; may be left out where there is one
            activation_threshold: number in (0, 1]; share of a neuron's maximum at which a document
                is a dataset example
            min_activation: number above 0, at most 3e38; activation at which a document is an
                example, in place of activation_threshold; default 0.005, none with
                activation_threshold
            max_examples: whole number from 1 to 2^31 - 1; dataset examples a neuron keeps at most;
                default 100
            order: 'corpus' or 'top'; which examples are kept: the first ones of the corpus, or
                those of highest activation; default corpus
            window: whole number from 0 to 1048576; tokens kept before and after the key token, for
                display; default 10
            window_vectors: true or false; keep what neurons received at the tokens before the key
                token too, for embedding: 'weighted'; the store grows by up to every token's vector;
                default false
            replace: true or false; whether an autoencoder of the same name is replaced; default
                false
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            phase (what is being done, at the end done), documents (read until now), total_documents
            (NULL where unknown), tokens (read until now), tokens_per_second (of the phase until
            now), elapsed_seconds (since the job began), message (what there is to say); several
            rows a second
        """
        options: dict[str, Any] = {
            "hook": hook,
            "hook_out": hook_out,
            "subfolder": subfolder,
            "model": model,
            "corpus": corpus,
            "model_name": model_name,
            "bos": bos,
            "context": context,
            "column": column,
            "activation_threshold": activation_threshold,
            "min_activation": min_activation,
            "max_examples": max_examples,
            "order": order,
            "window": window,
            "window_vectors": window_vectors,
            "replace": replace,
            "run": run,
        }
        return self._call("import_sae", [("name", name), ("path", path), ("source", source)], options)

    def export_sae(
        self,
        name: str,
        folder: str,
        *,
        format: str | None = None,
        replace: bool | None = None,
    ) -> Result:
        """Writes a sparse autoencoder as a folder that other tools load.

        Arguments:
            name: text; name of the autoencoder
            folder: text; the new folder

        Options:
            format: 'saelens' or 'dictionary_learning'; dictionary_learning's own loader wants
                ae.pt, which its documentation's command makes of the ae.safetensors written here;
                default saelens
            replace: true or false; whether a folder of that name is replaced; default false

        Returns:
            folder (where it lies), format (saelens or dictionary_learning); one row
        """
        options: dict[str, Any] = {
            "format": format,
            "replace": replace,
        }
        return self._call("export_sae", [("name", name), ("folder", folder)], options)

    def sae_metrics(
        self,
        name: str,
        source: Any | None = None,
        *,
        split: str | None = None,
        corpus: Any | None = None,
        model: str | None = None,
        hook: str | None = None,
        max_documents: int | None = None,
        dead_threshold: float | None = None,
        column: str | None = None,
    ) -> Result:
        """How good a sparse autoencoder is: one row per metric, with its formula.

        Arguments:
            name: text; name of the autoencoder
            source: table or (SELECT ...); rows with a column of vectors to measure it on; left out,
                what the model of its run gives

        Options:
            split: 'train', 'test' or 'all'; which images of a folder are read: the training ones,
                the test ones, or the one after the other (when left out); default test
            corpus: text, table or (SELECT ...); files, a name of the hub or rows in place of the
                run's corpus, read as ingest read that; empty is left out
            model: text; where the model of its run is now; with hook and corpus, the model of a
                table's vectors
            hook: text; the place in that model, as in blocks.2.mlp.out; only with model; only with
                corpus
            max_documents: whole number from 1 to 2^31 - 1; documents after which the rest of the
                corpus is left out; default the run's
            dead_threshold: number from 0 to 3e38; a latent is dead if its largest activation in
                training is below; default 0.005
            column: text; the source's column of vectors; may be left out where there is one

        Returns:
            sae (its name), metric (its name), value (NULL where undefined: an encoder predicts no
            next token), definition (its formula); distances are cosine distances in [0, 2], x is a
            vector, y its reconstruction, a its code; of a transcoder x is what the model gives at
            its other place, and errors over rows are NULL, since rows lack it. A condition on
            metric that leaves out those of the model (accuracy, ce_loss) spares its passes with
            reconstructions and zeros
        """
        options: dict[str, Any] = {
            "split": split,
            "corpus": corpus,
            "model": model,
            "hook": hook,
            "max_documents": max_documents,
            "dead_threshold": dead_threshold,
            "column": column,
        }
        return self._call("sae_metrics", [("name", name), ("source", source)], options)

    def feature_density(
        self,
        name: str,
        *,
        width: float | None = None,
    ) -> Result:
        """A histogram of how often the latents of a sparse autoencoder are active.

        Arguments:
            name: text; name of the autoencoder

        Options:
            width: number above 0, at most 3e38; width of a bucket in powers of ten; default 0.5

        Returns:
            log10_lower (of the share of the training rows with a > 0; NULL for latents never
            active), log10_upper (the bucket's other end), n_latents (latents in the bucket); empty
            buckets are left out
        """
        options: dict[str, Any] = {
            "width": width,
        }
        return self._call("feature_density", [("name", name)], options)

    def sae_matches(
        self,
        a: str,
        b: str,
        *,
        k: int | None = None,
        run: str | None = None,
    ) -> Result:
        """For each latent of a sparse autoencoder the latents or neurons of another layer whose weights are most similar.

        Arguments:
            a: text; name of an autoencoder
            b: text, or a layer's number; name of another autoencoder, or a layer of the current run

        Options:
            k: whole number from 1 to 2^31 - 1; matches a latent; default 1
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            latent (of a, from 0), rank (from 1), match (latent or neuron of b), decoder_cosine (in
            [-1, 1]; NULL for a zero vector or where widths differ), encoder_cosine (as
            decoder_cosine); the most similar decoder first (encoder, where only these are as wide)
        """
        options: dict[str, Any] = {
            "k": k,
            "run": run,
        }
        return self._call("sae_matches", [("a", a), ("b", b)], options)

    def feature_splitting(
        self,
        small: str,
        large: str,
        *,
        min_coverage: float | None = None,
        min_size: int | None = None,
        threshold: float | None = None,
    ) -> Result:
        """Latents of a small sparse autoencoder whose feature clusters are separate latents of a larger one.

        Arguments:
            small: text; name of the autoencoder whose latents are clustered
            large: text; name of another one that reads the same vectors

        Options:
            min_coverage: number in (0, 1]; least share of a cluster's examples its latent is active
                on; default 0.5
            min_size: whole number from 1 to 2^31 - 1; clusters of fewer examples are left aside;
                default 2
            threshold: number from 0 to 2; largest merge height inside a cluster; default
                polysema.threshold

        Returns:
            latent (of the small one), cluster (its feature cluster, 0 is the largest), size (its
            examples), large_latent (latent of the large one), coverage (share of the cluster's
            examples it is active on), other_coverage (of the examples of the latent's other
            clusters), mean_activation (of large_latent on the cluster's examples); by latent and
            cluster
        """
        options: dict[str, Any] = {
            "min_coverage": min_coverage,
            "min_size": min_size,
            "threshold": threshold,
        }
        return self._call("feature_splitting", [("small", small), ("large", large)], options)

    def drop_sae(
        self,
        name: str,
    ) -> Result:
        """Removes a sparse autoencoder from the store, its layer of its run, and what is left of an interrupted training.

        Arguments:
            name: text; name of the autoencoder

        Returns:
            removed (what, by its name), autoencoders (those that went with it), size_bytes (what it
            took on disk); one row
        """
        options: dict[str, Any] = {
        }
        return self._call("drop_sae", [("name", name)], options)

    def activation_map(
        self,
        layer: int | str,
        neuron: int,
        *,
        width: int | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per pixel: the largest activation of a classifier's neuron that this pixel alone can induce.

        Arguments:
            layer: whole number or text; the layer's number or name: of a classifier of images, or
                an autoencoder on one
            neuron: whole number; index in the layer

        Options:
            width: whole number from 1 to 1048576; pixels of a line of the images; default that of a
                square
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            y (line of the pixel, from 0 above), x (its place in the line, from 0), weight (the
            neuron's weight of the pixel; NULL where it sees pixels through other neurons),
            activation (the largest that the pixel alone can induce, white or black; through other
            neurons the sum of theirs above 0, weighted)
        """
        options: dict[str, Any] = {
            "width": width,
            "run": run,
        }
        return self._call("activation_map", [("layer", layer), ("neuron", neuron)], options)

    def importance_map(
        self,
        layer: int | str,
        neuron: int,
        *,
        cluster: int | None = None,
        threshold: float | None = None,
        width: int | None = None,
        run: str | None = None,
    ) -> Result:
        """One row per pixel: how much it matters to a classifier's neuron on its dataset examples.

        Arguments:
            layer: whole number or text; the layer's number or name: of a classifier of images, or
                an autoencoder on one
            neuron: whole number; index in the layer

        Options:
            cluster: whole number from 0 to 2^31 - 1; the feature cluster whose examples are meant;
                default all examples
            threshold: number from 0 to 2; largest merge height inside a cluster; default
                polysema.threshold
            width: whole number from 1 to 1048576; pixels of a line of the images; default that of a
                square
            run: text; the run whose tables are read (any schema that has them), which may also
                stand before the function's name, as in mine.feature_clusters(); default the current
                run

        Returns:
            y (line of the pixel, from 0 above), x (its place in the line, from 0), activation (as
            activation_map gives it), mean_pixel (over the examples, as the classifier receives
            pixels; NULL without examples), importance (in [0, 1]: the activation above that of
            pixel 0 times mean_pixel, both scaled to [0, 1]; NULL without examples)
        """
        options: dict[str, Any] = {
            "cluster": cluster,
            "threshold": threshold,
            "width": width,
            "run": run,
        }
        return self._call("importance_map", [("layer", layer), ("neuron", neuron)], options)
