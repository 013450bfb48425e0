"""Volt: segmentation of points by a plain transformer over patches of voxels, and the parts of its training recipe.

Points become a :class:`Sample`, a voxelised sample a :class:`VoxelScene`, scenes a :class:`VoxelBatch`, and a
:class:`VoltSegmentor` gives classes to its voxels. Random steps take a numpy generator from the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.volt.augmentations import (
        Augmentation as Augmentation,
        augmented as augmented,
    )
    from recon3d.pointcloud.volt.backbone import (
        Volt as Volt,
    )
    from recon3d.pointcloud.volt.batch import (
        VoxelBatch as VoxelBatch,
        VoxelScene as VoxelScene,
        collate_scenes as collate_scenes,
        mixed_offset as mixed_offset,
    )
    from recon3d.pointcloud.volt.checkpoints import (
        load_volt_state as load_volt_state,
        official_state as official_state,
        options_of as options_of,
        segmentor_from_state as segmentor_from_state,
    )
    from recon3d.pointcloud.volt.grid import (
        voxel_fragments as voxel_fragments,
        voxel_indices as voxel_indices,
        voxel_order as voxel_order,
        voxelised as voxelised,
    )
    from recon3d.pointcloud.volt.instance_losses import (
        InstanceLoss as InstanceLoss,
        InstanceLossOptions as InstanceLossOptions,
        InstanceTargets as InstanceTargets,
        instance_loss as instance_loss,
        matched_queries as matched_queries,
        super_point_targets as super_point_targets,
    )
    from recon3d.pointcloud.volt.instance_steps import (
        InstanceCutMix as InstanceCutMix,
    )
    from recon3d.pointcloud.volt.instances import (
        FoundInstances as FoundInstances,
        InstanceOptions as InstanceOptions,
        found_instances as found_instances,
        matrix_nms as matrix_nms,
    )
    from recon3d.pointcloud.volt.losses import (
        SegmentationLossOptions as SegmentationLossOptions,
        lovasz_softmax as lovasz_softmax,
        segmentation_loss as segmentation_loss,
    )
    from recon3d.pointcloud.volt.options import (
        INDOOR_CLASSES as INDOOR_CLASSES,
        OUTDOOR_CLASSES as OUTDOOR_CLASSES,
        VOLT_B as VOLT_B,
        VOLT_CONFIGS as VOLT_CONFIGS,
        VOLT_S as VOLT_S,
        VOLT_TINY as VOLT_TINY,
        VOLT_TINY_OUTDOOR as VOLT_TINY_OUTDOOR,
        VOLT_UNIT as VOLT_UNIT,
        SegmentorOptions as SegmentorOptions,
        VoltOptions as VoltOptions,
    )
    from recon3d.pointcloud.volt.recipes import (
        IndoorRecipe as IndoorRecipe,
        OutdoorRecipe as OutdoorRecipe,
    )
    from recon3d.pointcloud.volt.samples import (
        Sample as Sample,
        indoor_scene as indoor_scene,
        outdoor_scene as outdoor_scene,
    )
    from recon3d.pointcloud.volt.schedule import (
        AveragedWeights as AveragedWeights,
        OneCycle as OneCycle,
        decayed_parameters as decayed_parameters,
        poly_rate as poly_rate,
    )
    from recon3d.pointcloud.volt.segmentor import (
        VoltSegmentor as VoltSegmentor,
        segmentor_loss as segmentor_loss,
        teacher_labels_of as teacher_labels_of,
    )
    from recon3d.pointcloud.volt.spformer import (
        InstanceHead as InstanceHead,
        InstanceHeadOptions as InstanceHeadOptions,
        InstanceQueries as InstanceQueries,
        super_point_means as super_point_means,
    )
    from recon3d.pointcloud.volt.views import (
        SceneView as SceneView,
        indoor_views as indoor_views,
        outdoor_views as outdoor_views,
        voted_probabilities as voted_probabilities,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "augmentations": ["Augmentation", "augmented"],
        "backbone": ["Volt"],
        "batch": ["VoxelBatch", "VoxelScene", "collate_scenes", "mixed_offset"],
        "checkpoints": ["load_volt_state", "official_state", "options_of", "segmentor_from_state"],
        "grid": ["voxel_fragments", "voxel_indices", "voxel_order", "voxelised"],
        "instance_losses": [
            "InstanceLoss",
            "InstanceLossOptions",
            "InstanceTargets",
            "instance_loss",
            "matched_queries",
            "super_point_targets",
        ],
        "instance_steps": ["InstanceCutMix"],
        "instances": ["FoundInstances", "InstanceOptions", "found_instances", "matrix_nms"],
        "losses": ["SegmentationLossOptions", "lovasz_softmax", "segmentation_loss"],
        "options": [
            "INDOOR_CLASSES",
            "OUTDOOR_CLASSES",
            "SegmentorOptions",
            "VOLT_B",
            "VOLT_CONFIGS",
            "VOLT_S",
            "VOLT_TINY",
            "VOLT_TINY_OUTDOOR",
            "VOLT_UNIT",
            "VoltOptions",
        ],
        "recipes": ["IndoorRecipe", "OutdoorRecipe"],
        "samples": ["Sample", "indoor_scene", "outdoor_scene"],
        "schedule": ["AveragedWeights", "OneCycle", "decayed_parameters", "poly_rate"],
        "segmentor": ["VoltSegmentor", "segmentor_loss", "teacher_labels_of"],
        "spformer": ["InstanceHead", "InstanceHeadOptions", "InstanceQueries", "super_point_means"],
        "views": ["SceneView", "indoor_views", "outdoor_views", "voted_probabilities"],
    },
)
