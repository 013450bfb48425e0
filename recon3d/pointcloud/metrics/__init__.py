"""How good detections and labels of point clouds are, by the definitions of Waymo, KITTI, nuScenes and ScanNet."""
